// The model's card: who it is, how well it does, what it learnt from, where it ends.

import { dossier as fetchDossier, identified } from "./api.js";
import { el, english } from "./dom.js";
import { count, date, number, percent, said, t, word } from "./i18n.js";

const FIRST = ["auroc", "sensitivity", "specificity", "balanced_accuracy"];
const DIGITS = 12; // of a digest: enough to find it by

const row = (name, found) =>
  found === null || found === undefined || found === ""
    ? null
    : el("div", {}, el("dt", {}, word("rows", name)), el("dd", {}, found));

const digest = (text) => text && el("code", { title: text }, text.slice(0, DIGITS));

export function modelCard(card) {
  return [
    el("p", { class: "identity" }, el("strong", {}, card.model), " ", el("span", {}, t("version", card.version))),
    sentences("warningsTitle", card.warnings, "warnings"),
    metrics(card),
    (card.outside ?? []).length ? outside(card.outside) : null,
    training(card),
    dossier(card),
    sentences("limitsTitle", card.limits?.filter((text) => text !== card.notice), "limits"), // it stands above all
    details(card),
  ].filter(Boolean);
}

function sentences(title, found, name) {
  if (!found?.length) return null;
  const items = found.map((text) => said("li", text));
  return el("section", { class: name }, el("h3", {}, t(title)), el("ul", {}, items));
}

function metrics(card) {
  const found = card.metrics ?? {};
  const heading = el("h3", {}, t("metricsTitle"));
  if (!Object.keys(found).length) return el("section", {}, heading, el("p", { class: "hint" }, t("noMetrics")));
  const first = FIRST.filter((name) => name in found);
  const rest = Object.keys(found).filter((name) => !first.includes(name));
  const on = card.measured_on;
  return el("section", { class: "metrics" }, heading,
    on && (word("metricsOn", on) ? el("p", { class: "hint" }, word("metricsOn", on)) : english("p", { class: "hint" }, on)),
    scores(found, first, true),
    el("p", { class: "hint" }, t("intervals")),
    rest.length ? el("details", {}, el("summary", {}, t("moreMetrics")), scores(found, rest, false)) : null);
}

// Each metric's value and interval in figures; those of which 1 is best also as a dot with its interval, from 0 to 1.
function scores(found, names, drawn) {
  return el("dl", { class: "scores" }, names.map((name) => {
    const { value, low, high } = found[name];
    const figures = [el("b", {}, number(value)), " ", el("span", {}, t("from", number(low), number(high)))];
    return el("div", {}, el("dt", {}, word("metrics", name) ?? name), el("dd", {}, figures),
      drawn && whisker({ value, low, high }));
  }));
}

function whisker(places) {
  const made = el("dd", { class: "whisker", "aria-hidden": "true" });
  for (const [name, at] of Object.entries(places)) made.style.setProperty(`--${name}`, String(at));
  return made;
}

function outside(sets) {
  return el("section", { class: "metrics" }, el("h3", {}, t("outsideTitle")), sets.map((set) => [
    el("h4", {}, set.name),
    set.counts && el("p", { class: "hint" },
      t("outsideCounts", count(set.counts.NORMAL ?? 0), count(set.counts.PNEUMONIA ?? 0))),
    scores(set.metrics, FIRST.filter((name) => name in set.metrics), true),
  ]));
}

function training(card) {
  const from = card.training ?? {};
  return el("section", {}, el("h3", {}, t("trainingTitle")), el("dl", { class: "facts" },
    row("patients", from.patients && count(from.patients)), row("profile", from.profile),
    row("data", digest(from.data_digest)), row("dvc", digest(from.dvc_md5))));
}

// A browser sends no key with a link: where there is one, the page is fetched and saved as a file.
function dossier(card) {
  if (!card.dossier) return null;
  const link = el("a", { href: "dossier", target: "_blank", rel: "noopener", onclick: (event) => saved(event, card) }, t("dossierLink"));
  return el("section", { class: "dossier" }, el("p", {}, link), el("p", { class: "hint" }, t("dossierHint")));
}

async function saved(event, card) {
  if (!identified()) return;
  event.preventDefault();
  const url = URL.createObjectURL(await fetchDossier());
  el("a", { href: url, download: `dossier-${card.model}-${card.version}.html` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function details(card) {
  const { preprocess, agreement, promoted, digests = {} } = card;
  const input = preprocess && [t("pixels", preprocess.size, preprocess.size), preprocess.equalize && t("equalized")].filter(Boolean);
  const agree = agreement && agreement.images
    ? t("agreementValue", percent(agreement.int8_labels, 1), count(agreement.images)) : null;
  return el("details", { class: "more" }, el("summary", {}, t("detailsTitle")), el("dl", { class: "facts" },
    row("threshold", card.threshold === undefined ? null : number(card.threshold, 4)),
    row("input", input?.join(", ")), row("precision", card.precision), row("agreement", agree),
    promoted && [
      row("promoted", date(promoted.when)), row("by", promoted.who), row("why", english("span", {}, promoted.why)),
      row("from", promoted.from_version ? t("fromVersion", promoted.from_version) : t("firstChampion")),
    ],
    row("weights", digest(digests.weights)), row("model", digest(digests.model)), row("export", digest(digests.export))));
}
