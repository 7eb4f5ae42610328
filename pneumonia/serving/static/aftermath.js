// What has followed: retrainings and recalibrations, and what readers have said.

import { meter } from "./charts.js";
import { el } from "./dom.js";
import { table } from "./figure.js";
import { count, moment, said, t, word, words } from "./i18n.js";

export function loops({ loops: found }) {
  if (!found.length) return [el("p", { class: "empty-state" }, t("noLoops"))];
  return [el("p", { class: "hint" }, t("loopsHint")), table(t("loopsTitle"), words("loopsHead"), found.map(loopRow))];
}

function loopRow(loop) {
  const outcome = word("outcomes", loop.outcome ?? "open");
  const over = loop.taken_over ? ` ${t("takenOver", count(loop.taken_over))}` : "";
  return [
    moment(1000 * loop.at), word("actions", loop.action), word("kindNames", loop.kind) ?? loop.kind,
    el("strong", { class: "outcome", "data-outcome": loop.outcome ?? "open" }, outcome, over),
    loop.new_version ? t("toVersion", loop.version, loop.new_version) : loop.version,
    loop.words ? said("span", loop.words) : "–", loop.finished === null ? "–" : moment(1000 * loop.finished),
    el("code", { class: "trace" }, loop.trace_id),
  ];
}

export function feedback({ feedback: { verdicts, states } }) {
  const total = Object.values(verdicts).reduce((sum, n) => sum + n, 0);
  if (!total) return [el("p", { class: "empty-state" }, t("noFeedback"), " ", el("a", { href: "./" }, t("toPage")))];
  return [
    counted(t("statesTitle"), states, "states", t("imageColumn")), el("p", { class: "hint" }, t("statesHint")),
    counted(t("verdictsTitle"), verdicts, "verdicts", t("wordColumn")),
  ];
}

function counted(title, found, names, unit) {
  const most = Math.max(1, Object.values(found).reduce((sum, n) => sum + n, 0));
  const rows = Object.entries(found).map(([name, n]) => [word(names, name) ?? name, count(n), meter({ value: n, most, name: "stream" })]);
  return el("div", { class: "chart" }, el("h3", {}, title), table(title, [title, unit, t("shareColumn")], rows));
}
