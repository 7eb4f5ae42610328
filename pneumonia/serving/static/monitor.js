// Start the page of monitoring: ask every half minute while somebody looks, and show what has been recorded and found.

import { takeKeys } from "./access.js";
import { feedback, loops } from "./aftermath.js";
import { Problem, monitored } from "./api.js";
import { byId, el, english } from "./dom.js";
import { History, metrics, sentence, shifts, tests, verdict } from "./findings.js";
import { addWords, count, current, onLanguage, second, start, t } from "./i18n.js";
import en from "./monitor.en.js";
import fr from "./monitor.fr.js";
import { reasonOf } from "./reasons.js";
import { Stream } from "./stream.js";

const EVERY = 30_000; // ms
const RANGES = [1, 24, 7 * 24, 30 * 24]; // hours
const stream = new Stream();
const history = new History();

// What a section is drawn from; it is drawn again where that, or the language, has changed.
const SECTIONS = {
  verdict: {
    of: ({ drift, version }) => ({ drift, version }),
    draw: (found) => [verdict, tests, shifts, metrics].map((part) => part(found)),
  },
  loops: { of: ({ loops: found }) => ({ loops: found }), draw: loops },
  feedback: { of: ({ feedback: found }) => ({ feedback: found }), draw: feedback },
};
const drawn = {};

let hours = chosen();
let shown = null; // what the service answered last
let updated = 0; // when, ms
let trouble = null; // why there is nothing newer: a Problem
let timer = 0;
let asking = null;

function chosen() {
  const wished = Number(new URLSearchParams(location.search).get("hours"));
  return RANGES.includes(wished) ? wished : RANGES[2];
}

async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  try {
    const found = await monitored(hours, { signal: mine.signal });
    if (mine.signal.aborted) return;
    announce(shown?.drift, found.drift);
    [shown, updated, trouble] = [found, Date.now(), null];
  } catch (error) {
    if (mine.signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    trouble = error;
  }
  draw();
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

// Only what is new: another verdict than the one that stood here.
function announce(before, now) {
  if (shown && now && now.checked_at !== before?.checked_at) byId("status").textContent = sentence(now);
}

function draw() {
  const served = shown?.model ?? null;
  byId("trouble").hidden = !trouble && (!shown || served !== null);
  byId("trouble").replaceChildren(...(trouble ? troubled() : noModel()).filter(Boolean));
  byId("panels").hidden = served === null;
  byId("panels").classList.toggle("stale", trouble !== null);
  byId("served").textContent = served ? `${served} · ${t("version", shown.version)}` : "";
  byId("updated").textContent = updated ? t("updated", second(updated), EVERY / 1000) : "";
  if (!served) return;
  byId("phantom").hidden = !shown.phantom;
  byId("watched").replaceChildren(...watched(shown));
  stream.update(shown, hours);
  history.update(shown);
  for (const [name, section] of Object.entries(SECTIONS)) drawSection(name, section);
}

function drawSection(name, { of, draw: make }) {
  const key = `${current()} ${JSON.stringify(of(shown))}`;
  if (drawn[name] === key) return;
  drawn[name] = key;
  byId(name).replaceChildren(...make(shown).flat(Infinity).filter(Boolean));
}

// Whether anybody looks after the model: events are recorded, and drift has been looked at.
function watched({ recording, waiting, drift }) {
  const state = !recording ? "off" : drift ? "on" : "unlooked";
  const words = { off: "watchOff", on: "watchOn", unlooked: "watchUnlooked" }[state];
  return [
    el("p", { class: "watch", "data-watch": state }, el("strong", {}, t(words))),
    !recording && el("p", {}, t("watchOffText"), " ", el("code", {}, "monitoring.record=true")),
    waiting > 0 && el("p", { class: "waiting" }, t("waiting", count(waiting))),
  ].filter(Boolean);
}

function troubled() {
  const { status, document: { code, detail } } = trouble;
  const stale = updated && el("p", { class: "hint" }, t("stale", second(updated)));
  if (status === 404) return notMonitored();
  const title = el("h2", {}, t(code === "database" ? "databaseTitle" : "troubleTitle"));
  const text = el("p", {}, code === "database" ? t("databaseText") : t("away", reasonOf(trouble)));
  return [title, text, detail && english("p", { class: "hint" }, detail), stale];
}

const notMonitored = () => [
  el("h2", {}, t("noMonitoring")), el("p", {}, t("noMonitoringText")),
  el("pre", {}, el("code", {}, "pneumonia serve --set monitoring.record=true")),
];

const noModel = () => [
  el("h2", {}, t("absentTitle")), el("p", {}, t("absentText")), el("pre", {}, el("code", {}, "make run")),
  el("p", { class: "hint" }, t("absentAfter")),
];

function drawRanges() {
  for (const button of document.querySelectorAll("[data-hours]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.hours) === hours));
  }
}

function choose(wanted) {
  hours = wanted;
  const url = new URL(location.href);
  url.searchParams.set("hours", hours);
  window.history.replaceState(null, "", url);
  drawRanges();
  refresh();
}

function listen() {
  for (const button of document.querySelectorAll("[data-hours]")) {
    button.addEventListener("click", () => choose(Number(button.dataset.hours)));
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const left = updated + EVERY - Date.now();
    if (left <= 0) refresh();
    else timer = setTimeout(refresh, left);
  });
}

addWords({ en, fr });
takeKeys();
byId("stream").append(stream.root);
byId("history").append(history.root);
onLanguage(() => {
  if (shown || trouble) draw();
});
drawRanges();
listen();
start();
refresh();
