// What the last look at drift has found: the verdict, its tests, what has moved, which metrics are to be expected.

import { interval, lines, meter, steps } from "./charts.js";
import { el } from "./dom.js";
import { Figure, table } from "./figure.js";
import { clock, count, day, moment, number, percent, said, t, word, words } from "./i18n.js";

const METRICS = ["accuracy", "sensitivity", "specificity", "auroc"];
const FIRST = 6; // statistics that are shown at once
const OLD = 2 * 86_400_000; // ms since the last look
const MARKS = 5;
const QUANTILE = "grey level quantile ";

const fact = (name, ...found) => el("div", {}, el("dt", {}, word("facts", name)), el("dd", {}, found));
const range = ({ low, high }, say = (value) => number(value)) => t("from", say(low), say(high));

export function verdict({ drift, version }) {
  if (!drift) return nothingLooked();
  const old = Date.now() - Date.parse(drift.checked_at) > OLD;
  return [
    el("p", { class: "decision verdict", "data-alarm": String(drift.alarm) }, sentence(drift)),
    el("p", {}, word("kinds", drift.kind)),
    el("p", {}, el("strong", {}, t("advice")), " ", said("span", drift.advice)),
    old && el("p", { class: "hint" }, t("oldLook")),
    version !== null && drift.version !== version && el("p", { class: "hint" }, t("otherVersion", drift.version, version)),
    facts(drift),
    el("p", { class: "hint" }, t("notMedical")),
  ];
}

export const sentence = ({ alarm, kind }) => t(alarm ? "alarm" : kind === "too few" ? "tooFew" : "quiet");

const nothingLooked = () => [
  el("p", { class: "decision verdict" }, t("noLook")),
  el("p", {}, t("noLookText")),
  el("pre", {}, el("code", {}, "python flows/monitor.py")),
];

function facts(drift) {
  const { prevalence, reference_prevalence: before } = drift;
  return el("dl", { class: "facts wide" },
    fact("checked", moment(drift.checked_at)), fact("window", t("fromTo", moment(drift.since), moment(drift.until))),
    fact("images", t("withRefused", count(drift.images), count(drift.refused))), fact("version", drift.version),
    fact("score", t("scoreValue", number(drift.score, 2))), fact("budget", t("budgetValue", count(drift.budget))),
    fact("prevalence", prevalence ? `${percent(prevalence.value)} (${range(prevalence, (value) => percent(value))})` : t("unknown")),
    fact("reference", percent(before)));
}

// Each test at the window where its score is largest, and behind that all of them.
export function tests({ drift }) {
  if (!drift?.tests.length) return [];
  const largest = new Map();
  for (const test of drift.tests) if (!(largest.get(test.name)?.score >= test.score)) largest.set(test.name, test);
  const most = Math.max(1.25, ...drift.tests.map((test) => test.score));
  const shown = (found, title = t("testsTitle")) => table(title, words("testsHead"), found.map((test) => testRow(test, most)));
  return [
    el("h3", {}, t("testsTitle")), el("p", { class: "hint" }, t("testsHint")), shown([...largest.values()]),
    drift.tests.length > largest.size && el("details", {}, el("summary", {}, t("allSizes")), shown(drift.tests, t("allSizes"))),
  ];
}

function testRow(test, most) {
  const found = test.low === null || test.high === null ? number(test.statistic) : `${number(test.statistic)} (${range(test)})`;
  return [
    word("tests", test.name) ?? test.name, count(test.images), found, number(test.limit),
    test.p_value === null ? "–" : chance(test.p_value), scored(test.score, most),
  ];
}

const chance = (value) => (value < 0.001 ? `< ${number(0.001)}` : number(value));

const scored = (score, most) => el("span", { class: "scored" },
  meter({ value: score, most, limit: 1, name: score >= 1 ? "over" : "under" }),
  el("span", {}, number(score, 2), score >= 1 && el("strong", {}, ` ${t("isAlarm")}`)));

export function shifts({ drift }) {
  if (!drift?.shifts.length) return [];
  const most = Math.max(1.25, ...drift.shifts.map((shift) => shift.score));
  const row = (shift) => [
    statistic(shift.name), number(shift.ks), number(shift.reference_median, 2), number(shift.window_median, 2), scored(shift.score, most),
  ];
  const shown = (found, title = t("shiftsTitle")) => table(title, words("shiftsHead"), found.map(row));
  return [
    el("h3", {}, t("shiftsTitle")), el("p", { class: "hint" }, t("shiftsHint")), shown(drift.shifts.slice(0, FIRST)),
    drift.shifts.length > FIRST && el("details", {}, el("summary", {}, t("moreShifts")), shown(drift.shifts.slice(FIRST), t("moreShifts"))),
  ];
}

const statistic = (name) =>
  name.startsWith(QUANTILE) ? t("greyQuantile", number(Number(name.slice(QUANTILE.length)), 2)) : (word("statistics", name) ?? name);

export function metrics({ drift }) {
  const names = METRICS.filter((name) => drift && (drift.estimated[name] || drift.measured[name]));
  if (!names.length) return [];
  const rows = names.map((name) => {
    const [value, band, truth] = [drift.estimated[name], drift.expected[name], drift.measured[name]];
    const point = value && { low: value.value, high: value.value };
    return [
      word("metrics", name), against(value, point, band), band ? range(band) : "–", against(truth, truth, band),
      interval({ value, band, truth }),
    ];
  });
  return [
    el("h3", {}, t("qualityTitle")), el("p", { class: "hint" }, t("qualityHint", count(drift.labels))),
    table(t("qualityTitle"), words("qualityHead"), rows),
  ];
}

// A metric, and where it lies: its estimate as it is, since the band is one of estimates; what was measured by its interval.
function against(value, place, band) {
  if (!value) return "–";
  const found = `${number(value.value)} (${range(value)})`;
  if (!band) return found;
  if (place.high < band.low) return [found, " ", el("strong", {}, t("belowBand"))];
  return `${found} ${t(place.low > band.high ? "aboveBand" : "inBand")}`;
}

export class History {
  constructor() {
    this.figure = new Figure();
    this.root = this.figure.root;
  }

  update({ history }) {
    this.root.hidden = !history.length;
    if (!history.length) return;
    const times = history.map(({ checked_at: at }) => Date.parse(at));
    const [begin, end] = [Math.min(...times), Math.max(...times)];
    const place = (time) => (end > begin ? 0.02 + (0.96 * (time - begin)) / (end - begin) : 0.5);
    const alarms = history.filter(({ alarm }) => alarm).length;
    const points = history.map(({ score, alarm }, at) => ({ place: place(times[at]), value: score, mark: alarm ? "alarm" : "dot" }));
    this.figure.update({
      title: t("historyTitle"),
      hint: t("historyHint"),
      legend: [{ kind: "line", name: "score", text: t("scoreColumn") }, { kind: "outline", name: "limit", text: t("alarmLevel") }],
      head: words("historyHead"),
      rows: history.map((one) => [
        moment(one.checked_at), number(one.score, 2), t(one.alarm ? "isAlarm" : "noAlarm"), word("kindNames", one.kind), one.version,
      ]).reverse(),
      draw: (width) => lines({
        width, limit: 1, say: (level) => number(level, 1), marks: marksOf(begin, end, place), series: [{ name: "score", points }],
        label: t("historyLabel", count(history.length), count(alarms)), levels: steps(Math.max(1.5, ...history.map(({ score }) => score))),
      }),
    });
  }
}

function marksOf(begin, end, place) {
  if (end === begin) return [{ place: 0.5, text: moment(begin) }];
  const say = end - begin < 86_400_000 ? clock : day;
  const marks = Array.from({ length: MARKS }, (_, at) => begin + ((end - begin) * at) / (MARKS - 1));
  return marks.map((time) => ({ place: place(time), text: say(time) })).filter((mark, at, all) => mark.text !== all[at - 1]?.text);
}
