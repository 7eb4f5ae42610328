// Start the page: take files, send them two at a time, show what comes back, and keep the model's card.

import { takeKeys } from "./access.js";
import { Problem, card as fetchCard, predict, sample, samples } from "./api.js";
import { Card } from "./card.js";
import { byId, el, english } from "./dom.js";
import { onLanguage, start, t } from "./i18n.js";
import { modelCard } from "./model.js";
import { showName, takeName } from "./reader.js";
import { reasonOf } from "./reasons.js";

const AT_A_TIME = 2; // files under way: their bytes, and no others, are in memory
const ANNOUNCED = 5; // files up to which each outcome is read aloud
const LOOK_AGAIN = 4000; // ms until a service without a champion is asked again

let cards = [];
let queue = [];
let running = 0;
let stop = new AbortController();
let model = null;
let absent = null; // why there is no card: a Problem

// Files -------------------------------------------------------------------------------------------------------------

function take(files) {
  const taken = [...files].map((file) => new Card(file, again));
  if (!taken.length) return;
  byId("cards").prepend(...taken.map((card) => card.root));
  cards = [...taken, ...cards];
  queue.push(...taken);
  pump();
  summarise();
}

function again(card) {
  card.set({ kind: "queued" });
  queue.push(card);
  pump();
  summarise();
}

function pump() {
  while (running < AT_A_TIME && queue.length) {
    const card = queue.shift();
    running += 1;
    answer(card, stop.signal).finally(() => {
      running -= 1;
      pump();
    });
  }
}

async function answer(card, signal) {
  try {
    await readable(card.file);
    let began = 0;
    const result = await predict(card.file, {
      signal,
      waiting: (seconds) => card.set({ kind: "busy", seconds }),
      sending: () => {
        began = performance.now();
        card.set({ kind: "asking" });
      },
    });
    const round = performance.now() - began;
    card.set({ kind: result.refused ? "refused" : "answered", result, round });
    if (result.version && model && !same(result, model)) refresh();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    card.set({ kind: "failed", error });
    if (error.status === 503) refresh();
  }
  if (!signal.aborted) announce(card);
}

// A folder looks like a file until it is read.
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem("file");
  }
}

function announce(card) {
  summarise();
  const done = cards.filter((one) => one.done).length;
  if (cards.length <= ANNOUNCED) say(card.sentence);
  else if (done === cards.length) say(`${t("progress", done, cards.length)}. ${byId("summary").textContent}`);
}

const say = (text) => (byId("status").textContent = text);

function summarise() {
  byId("results").hidden = !cards.length;
  showName(cards.some((card) => card.feedback));
  const found = (test) => cards.filter(test).length;
  const decided = (name) => found(({ state }) => state.kind === "answered" && state.result.decision === name);
  const kind = (name) => found(({ state }) => state.kind === name);
  const words = t("summary", decided("PNEUMONIA"), decided("NORMAL"), kind("refused"), kind("failed"));
  const done = found((card) => card.done);
  byId("summary").textContent =
    done < cards.length ? [t("progress", done, cards.length), words].filter(Boolean).join(" · ") : words;
}

function clear() {
  stop.abort();
  stop = new AbortController();
  for (const card of cards) card.viewer.forget();
  cards = [];
  queue = [];
  byId("cards").replaceChildren();
  summarise();
  say("");
  byId("files").focus();
}

function listen() {
  byId("files").addEventListener("change", ({ target }) => {
    take(target.files);
    target.value = ""; // so that the same file may be chosen again
  });
  byId("clear").addEventListener("click", clear);
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  const over = (on) => document.body.classList.toggle("dragging", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    take(event.dataTransfer.files);
  });
}

// Model -------------------------------------------------------------------------------------------------------------

const same = (one, other) => one.model === other.model && one.version === other.version;

let refreshing = null;

function refresh() {
  refreshing ??= look().finally(() => (refreshing = null));
}

async function look() {
  const before = model;
  try {
    model = await fetchCard();
    absent = null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    model = null;
    absent = error;
    setTimeout(refresh, LOOK_AGAIN);
  }
  drawModel();
  if (before && model && !same(before, model)) say(t("moved", model.version));
  if (model?.phantom && !(before && same(before, model))) await offerSamples();
}

function drawModel() {
  byId("drop").hidden = absent?.status === 503;
  byId("model").hidden = absent !== null;
  byId("phantom").hidden = !model?.phantom;
  byId("absent").hidden = absent === null;
  if (absent) byId("absent").replaceChildren(...(absent.status === 503 ? noChampion() : [el("p", {}, t("away", reasonOf(absent)))]));
  byId("served").textContent = model ? `${model.model} · ${t("version", model.version)}` : "";
  if (model) byId("model-card").replaceChildren(...modelCard(model));
}

const noChampion = () => [
  el("h2", {}, t("absentTitle")),
  el("p", {}, t("absentText")),
  el("pre", {}, el("code", {}, "make run")),
  el("p", { class: "hint" }, t("absentAfter")),
  absent.document.detail && english("p", { class: "hint" }, absent.document.detail),
];

async function offerSamples() {
  const files = await fetchSamples();
  const buttons = files.map((file, index) => {
    const picture = el("img", { src: URL.createObjectURL(file), alt: "", width: 72, height: 72 });
    const button = el("button", { type: "button", "data-sample": index + 1, onclick: () => take([file]) }, picture);
    return el("li", {}, button);
  });
  byId("samples-list").replaceChildren(...buttons);
  byId("samples").hidden = !buttons.length;
  nameSamples();
}

async function fetchSamples() {
  try {
    return await Promise.all((await samples()).map(async ({ name, url }) => new File([await sample(url)], name)));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return []; // the page does its work without them
  }
}

function nameSamples() {
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.setAttribute("aria-label", t("sampleName", button.dataset.sample));
  }
}

takeKeys();
takeName(() => {
  for (const card of cards) card.feedback?.greet();
});
onLanguage(() => {
  for (const card of cards) card.relabel();
  if (model || absent) drawModel();
  nameSamples();
  summarise();
});
listen();
start();
refresh();
