// What is shown of one file: its picture, and beside it what the service has found.

import { el, english } from "./dom.js";
import { checksOf } from "./checks.js";
import { Feedback } from "./feedback.js";
import { compared, number, percent, said, t, word } from "./i18n.js";
import { reasonOf, refusalOf } from "./reasons.js";
import { Viewer } from "./viewer.js";

const FAR = 90; // percent; an image may be unlike the others in its patient's age alone
let made = 0;

export class Card {
  // retry: called with this card where the person wants it asked for again.
  constructor(file, retry) {
    this.file = file;
    this.retry = retry;
    this.state = { kind: "queued" };
    this.feedback = null; // where the answer has been recorded
    this.viewer = new Viewer(file);
    const id = `card-${(made += 1)}`;
    this.finding = el("div", { class: "finding" });
    const name = el("h3", { id, class: "file" }, file.name);
    this.article = el("article", { class: "card", "aria-labelledby": id },
      this.viewer.root, el("div", { class: "text" }, name, this.finding));
    this.root = el("li", {}, this.article);
    this.draw();
  }

  // state: {kind: queued | asking | busy | answered | refused | failed, …what belongs to it}
  set(state) {
    this.state = state;
    if (state.result) this.viewer.judge(state.result);
    this.feedback = state.result?.event ? new Feedback(state.result) : null;
    this.draw();
  }

  draw() {
    const parts = { queued, asking, busy, answered, refused, failed }[this.state.kind];
    this.article.dataset.state = this.state.kind;
    this.article.setAttribute("aria-busy", String(!this.done));
    this.finding.replaceChildren(...parts(this.state, this).filter((part) => part && part !== true));
  }

  relabel() {
    this.viewer.relabel();
    this.feedback?.draw();
    this.draw();
  }

  get done() {
    return ["answered", "refused", "failed"].includes(this.state.kind);
  }

  // The outcome in one sentence, for a screen reader.
  get sentence() {
    const { kind, result, error } = this.state;
    if (kind === "refused") return t("announcedRefused", this.file.name, refusalOf(result));
    if (kind === "failed") return t("announcedFailed", this.file.name, reasonOf(error));
    const value = compared(result.probability, result.threshold)[0];
    const said = t("announced", this.file.name, t(result.decision), value);
    return result.familiar === false ? `${t("announcedUnfamiliar")} ${said}` : said;
  }
}

const queued = () => [el("p", { class: "pending" }, t("queued"))];
const asking = () => [el("p", { class: "pending working" }, t("asking"))];
const busy = ({ seconds }) => [el("p", { class: "pending" }, t("busy", seconds))];

function answered({ result, round }, { feedback }) {
  const [value, threshold] = compared(result.probability, result.threshold);
  return [
    result.phantom && el("p", { class: "phantoms" }, t("ofPhantoms")),
    result.familiar === false && unfamiliar(result),
    el("p", { class: "decision", "data-decision": result.decision }, t(result.decision)),
    el("p", { class: "probability" }, el("strong", {}, value), " ", t("probabilityOf")),
    bar(result, value, threshold),
    el("p", { class: "side" }, t(result.decision === "PNEUMONIA" ? "above" : "below", threshold)),
    checksOf(result.checks),
    result.familiar === false || notes(result.notes),
    feedback?.root,
    el("p", { class: "timing" }, time(result.timing, round), el("br"), t("answeredBy", result.model, result.version)),
  ];
}

function unfamiliar(result) {
  const far = result.distance_percentile >= FAR && t("unfamiliarBy", percent(result.distance_percentile / 100, 1));
  return el("div", { class: "unfamiliar" },
    el("p", {}, el("strong", {}, t("unfamiliarTitle")), " ", far, far && " ", t("unfamiliarSo")),
    el("ul", {}, (result.notes ?? []).map((note) => said("li", note))));
}

function bar(result, value, threshold) {
  const mark = el("span", { class: "threshold" });
  const label = el("span", { class: "threshold-label" }, t("threshold", threshold));
  const made = el("div", { class: "bar", role: "img", "aria-label": t("barLabel", value, threshold) },
    el("div", { class: "rail" }, el("span", { class: "fill" }), mark),
    el("div", { class: "scale" }, el("span", {}, percent(0)), label, el("span", {}, percent(1))));
  made.dataset.decision = result.decision;
  made.style.setProperty("--probability", String(result.probability));
  made.style.setProperty("--threshold", String(result.threshold));
  return made;
}

function refused({ result, round }, { feedback }) {
  const known = word("refusals", result.code) !== undefined;
  return [
    el("p", { class: "decision refusal" }, t("refused")),
    known || !result.reason ? el("p", {}, refusalOf(result)) : english("p", {}, t("reason", result.reason)),
    known && result.reason && english("p", { class: "hint" }, t("reason", result.reason)),
    checksOf(result.checks),
    feedback?.root,
    el("p", { class: "timing" }, t("refusedIn", duration(round))),
  ];
}

function failed({ error }, card) {
  const detail = error.document?.detail;
  return [
    el("p", { class: "decision refusal" }, t("failed")),
    el("p", {}, reasonOf(error)),
    detail && english("p", { class: "hint" }, detail),
    el("p", {}, el("button", { type: "button", class: "plain", onclick: () => card.retry(card) }, t("retry"))),
  ];
}

function notes(found) {
  if (!found?.length) return null;
  return el("div", { class: "notes" }, el("h4", {}, t("notes")),
    el("ul", {}, found.map((note) => said("li", note))));
}

const duration = (value) => t("milliseconds", number(value, value < 10 ? 1 : 0));

function time(timing, round) {
  if (timing?.total === undefined) return t("refusedIn", duration(round));
  const parts = Object.entries(timing)
    .filter(([name]) => name !== "total")
    .map(([name, value]) => `${word("parts", name) ?? name} ${number(value, value < 10 ? 1 : 0)}`);
  const total = duration(timing.total);
  return parts.length ? t("took", total, parts.join(", "), duration(round)) : t("tookShort", total, duration(round));
}
