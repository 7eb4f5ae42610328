// A reader's word about an answer: agree, disagree or unsure; what a refused image shows; and a note.

import { Problem, giveFeedback } from "./api.js";
import { el, english } from "./dom.js";
import { count, t, word } from "./i18n.js";
import { readerName } from "./reader.js";
import { reasonOf } from "./reasons.js";

const VERDICTS = ["agree", "disagree", "unsure"];
const LABELS = ["NORMAL", "PNEUMONIA"];
const NOTE_LETTERS = 1000;
const TRIES = 3;
let made = 0;

const same = (one, other) => ["verdict", "label", "note"].every((name) => one[name] === other[name]);

export class Feedback {
  // result: an answer or a refusal, with the id of its event.
  constructor(result) {
    this.result = result;
    this.given = new Map(); // what each reader has said, by name
    this.outcome = null; // {kind: sending | sent | changed | failed | unlabelled, …what belongs to it}
    this.id = `feedback-${(made += 1)}`;
    this.build();
    this.draw();
  }

  build() {
    const { id } = this;
    this.title = el("h4", { id });
    this.legend = el("legend");
    this.labels = LABELS.map((name) => el("input", { type: "radio", name: `${id}-label`, value: name, id: `${id}-${name}` }));
    this.labelNames = this.labels.map((field) => el("label", { for: field.id }));
    const choices = this.labels.map((field, at) => el("span", {}, field, this.labelNames[at]));
    this.buttons = VERDICTS.map((verdict) =>
      el("button", { type: "button", class: "plain", "data-verdict": verdict, onclick: () => this.give(verdict) }));
    this.said = el("p", { class: "said", role: "status" });
    this.root = el("div", { class: "feedback", role: "group", "aria-labelledby": id }, this.title,
      this.result.refused && el("fieldset", {}, this.legend, choices), el("div", { class: "verdicts" }, this.buttons),
      this.buildNote(), this.said);
  }

  buildNote() {
    const { id } = this;
    this.summary = el("summary");
    this.noteName = el("label", { for: `${id}-note` });
    this.noteHint = el("p", { class: "hint", id: `${id}-hint` });
    this.note = el("textarea", {
      id: `${id}-note`, rows: 3, maxlength: NOTE_LETTERS, "aria-describedby": `${id}-hint`, oninput: () => this.drawSend(),
    });
    this.send = el("button", { type: "button", class: "plain", onclick: () => this.give(this.before.verdict) });
    return el("details", { class: "note" }, this.summary, this.noteName, this.note, this.noteHint, this.send);
  }

  // What this reader has said already.
  get before() {
    return this.given.get(readerName());
  }

  words(verdict) {
    const label = this.labels.find((field) => field.checked)?.value;
    return { verdict, label: this.result.refused && verdict !== "unsure" ? label : undefined, note: this.note.value.trim() };
  }

  // One word at a time; what has been said already is not said again, as by the second of two clicks.
  async give(verdict) {
    const [reader, before, words] = [readerName(), this.before, this.words(verdict)];
    if (this.outcome?.kind === "sending" || (before && same(before, words))) return;
    if (this.result.refused && verdict !== "unsure" && !words.label) {
      this.show({ kind: "unlabelled" });
      this.labels[0].focus();
      return;
    }
    this.show({ kind: "sending" });
    try {
      const stored = await giveFeedback({ event: this.result.event, ...words, ...(reader && { reader }) }, { tries: TRIES });
      this.given.set(reader, words);
      this.show({ kind: before ? "changed" : "sent", stored });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.show({ kind: "failed", error });
    }
  }

  show(outcome) {
    this.outcome = outcome;
    this.draw();
  }

  // Another reader speaks from now on.
  greet() {
    if (this.outcome?.kind !== "sending") this.show(null);
  }

  draw() {
    const { refused } = this.result;
    this.title.textContent = t(refused ? "feedbackRefused" : "feedbackTitle");
    this.legend.textContent = t("feedbackLabel");
    this.labelNames.forEach((place, at) => (place.textContent = word("labels", LABELS[at])));
    for (const button of this.buttons) {
      const { verdict } = button.dataset;
      button.textContent = word("verdicts", verdict);
      button.setAttribute("aria-pressed", String(this.before?.verdict === verdict));
    }
    this.root.setAttribute("aria-busy", String(this.outcome?.kind === "sending"));
    this.summary.textContent = t("noteTitle");
    this.noteName.textContent = t("noteLabel");
    this.noteHint.textContent = t("noteHint", count(NOTE_LETTERS));
    this.send.textContent = t("noteSend");
    this.drawSend();
    this.said.dataset.outcome = this.outcome?.kind ?? "";
    this.said.replaceChildren(...this.sentence());
  }

  drawSend() {
    this.send.hidden = !this.before || this.before.note === this.note.value.trim();
  }

  sentence() {
    const { kind, stored, error } = this.outcome ?? {};
    if (kind === "sending") return [t("feedbackSending")];
    if (kind === "unlabelled") return [t("feedbackUnlabelled")];
    if (kind === "failed") {
      const detail = error.document.detail;
      return [t("feedbackFailed", reasonOf(error)), ...(detail ? [" ", english("span", { class: "hint" }, detail)] : [])];
    }
    if (!stored) return [];
    const label = stored.label && word("labels", stored.label);
    return [t(kind === "sent" ? "feedbackSent" : "feedbackChanged", word("said", stored.verdict), label, Boolean(stored.note))];
  }
}
