// What the service has seen: images over time, their probabilities beside the reference's, refusals by code.

import { columns, lines, meter, steps } from "./charts.js";
import { el } from "./dom.js";
import { Figure, table } from "./figure.js";
import { clock, count, day, moment, percent, t, word } from "./i18n.js";

const PARTS = ["negative", "positive", "refused"];
const SHARES = ["positive", "refused", "unfamiliar"];
const A_DAY = 24; // hours

const share = (part, whole) => (whole ? part / whole : 0);
const digits = (value) => percent(value, value > 0 && value < 0.1 ? 1 : 0);

export class Stream {
  constructor() {
    this.numbers = el("dl", { class: "tiles" });
    this.figures = { images: new Figure(), shares: new Figure(), probability: new Figure() };
    this.codes = el("div", { class: "chart" });
    const { images, shares, probability } = this.figures;
    this.charts = el("div", { class: "charts" }, images.root, shares.root, probability.root, this.codes);
    this.empty = el("p", { class: "empty-state" });
    this.root = el("div", { class: "stack-of" }, this.numbers, this.empty, this.charts);
  }

  // found: what the service answers; hours: the time that was asked for.
  update({ events, reference_probability: reference }, hours) {
    const none = events.images === 0;
    this.empty.hidden = !none;
    this.charts.hidden = none;
    this.numbers.hidden = none;
    this.empty.replaceChildren(t("noEvents"), " ", el("a", { href: "./" }, t("toPage")));
    if (none) return;
    this.numbers.replaceChildren(...tiles(events));
    const marks = marksOf(events.bars, hours);
    this.figures.images.update(imagesOverTime(events, marks));
    this.figures.shares.update(sharesOverTime(events, marks));
    this.figures.probability.update(probabilities(events, reference));
    this.codes.replaceChildren(...refusals(events));
  }
}

function tiles({ images, refused, bars, since, versions }) {
  const sum = (name) => bars.reduce((total, bar) => total + bar[name], 0);
  const tile = (name, value, hint) =>
    el("div", {}, el("dt", {}, word("tiles", name)), el("dd", {}, value), el("dd", { class: "hint" }, hint));
  const byVersion = Object.entries(versions).map(([version, n]) => t("ofVersion", version, count(n))).join(", ");
  return [
    tile("images", count(images), t("sinceWhen", moment(since))),
    tile("positive", digits(share(sum("positive"), images - refused)), t("ofAnswered", count(images - refused))),
    tile("refused", digits(share(refused, images)), t("nImages", count(refused))),
    tile("unfamiliar", digits(share(sum("unfamiliar"), images)), t("nImages", count(sum("unfamiliar")))),
    tile("versions", count(Object.keys(versions).length), byVersion),
  ];
}

// The words below: the time of day within a day, and otherwise the days, each where it begins.
function marksOf(bars, hours) {
  const marks = bars.map(({ at }, place) => ({ place: place / bars.length, text: (hours <= A_DAY ? clock : day)(at) }));
  return marks.filter((mark, place) => mark.text !== marks[place - 1]?.text);
}

const splits = (bar) => ({ ...bar, negative: bar.images - bar.refused - bar.positive });

function imagesOverTime({ bars, images }, marks) {
  const found = bars.map(splits);
  const title = t("imagesTitle");
  return {
    title,
    legend: PARTS.map((name) => ({ kind: "bar", name: `part ${name}`, text: word("streamParts", name) })),
    head: [t("fromTime"), word("tiles", "images"), ...PARTS.map((name) => word("streamParts", name))],
    rows: found.filter((bar) => bar.images).map((bar) => [moment(bar.at), count(bar.images), ...PARTS.map((name) => count(bar[name]))]),
    draw: (width) => columns({
      width, marks, label: t("imagesLabel", count(images)), classes: PARTS.map((name) => `part ${name}`),
      columns: found.map((bar) => PARTS.map((name) => bar[name])), say: count,
      levels: steps(Math.max(...bars.map((bar) => bar.images), 4)),
    }),
  };
}

function sharesOverTime({ bars }, marks) {
  const of = (bar, name) => (name === "positive" ? bar.images - bar.refused : bar.images);
  const value = (bar, name) => (of(bar, name) ? share(bar[name], of(bar, name)) : null);
  const series = SHARES.map((name) => ({
    name, points: bars.map((bar, place) => ({ place: (place + 0.5) / bars.length, value: value(bar, name) })),
  }));
  const seen = bars.filter((bar) => bar.images);
  return {
    title: t("sharesTitle"),
    hint: t("sharesHint"),
    legend: SHARES.map((name) => ({ kind: "line", name, text: word("tiles", name) })),
    head: [t("fromTime"), ...SHARES.map((name) => word("tiles", name))],
    rows: seen.map((bar) => {
      const found = SHARES.map((name) => value(bar, name));
      return [moment(bar.at), ...found.map((one) => (one === null ? "–" : percent(one)))];
    }),
    draw: (width) => lines({
      width, marks, series, label: t("sharesLabel"), levels: [0, 0.25, 0.5, 0.75, 1], say: (level) => percent(level),
    }),
  };
}

// Both as shares, since they are of different numbers of images.
function probabilities({ probability }, reference) {
  const total = (counts) => counts.reduce((sum, n) => sum + n, 0);
  const shares = (counts) => counts.map((n) => share(n, total(counts)));
  const [here, there] = [shares(probability), reference && shares(reference)];
  const tenths = here.map((_, place) => `${percent(place / 10)} – ${percent((place + 1) / 10)}`);
  const marks = [0, 2, 4, 6, 8, 10].map((tenth) => ({ place: tenth / 10, text: percent(tenth / 10) }));
  return {
    title: t("probabilityTitle"),
    hint: there ? t("probabilityHint", count(total(probability)), count(total(reference))) : t("noReference"),
    legend: [
      { kind: "bar", name: "part stream", text: t("ofStream") },
      ...(there ? [{ kind: "outline", name: "outline", text: t("ofReference") }] : []),
    ],
    head: [t("probabilityColumn"), t("ofStream"), ...(there ? [t("ofReference")] : [])],
    rows: tenths.map((name, place) => [name, percent(here[place], 1), ...(there ? [percent(there[place], 1)] : [])]),
    draw: (width) => columns({
      width, marks, columns: here.map((value) => [value]), classes: ["part stream"], outline: there ?? undefined,
      label: t("probabilityLabel"), levels: steps(Math.max(...here, ...(there ?? []), 0.1)), say: (level) => percent(level),
    }),
  };
}

function refusals({ codes, refused }) {
  const title = t("codesTitle");
  const found = Object.entries(codes);
  if (!found.length) return [el("h3", {}, title), el("p", { class: "hint" }, t("noRefusals"))];
  const rows = found.map(([code, n]) =>
    [word("refusals", code) ?? code, el("code", {}, code), count(n), meter({ value: n, most: refused, name: "refused" })]);
  return [el("h3", {}, title), table(title, [t("reasonColumn"), t("codeColumn"), word("tiles", "images"), t("shareColumn")], rows)];
}
