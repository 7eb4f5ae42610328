// What the service found about an image, as a list of names and values; it may find what this page does not know.

import { el, english } from "./dom.js";
import { count, number, t, word } from "./i18n.js";

const readable = (name) => name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

function label(name) {
  const known = word("checks", name);
  return known === undefined ? english("dt", {}, readable(name)) : el("dt", {}, known);
}

const list = (found) =>
  found.map((one, index) => [index ? ", " : "", word("qualities", one) ?? english("span", {}, String(one))]);

const VALUES = {
  size: ([width, height]) => el("dd", {}, t("pixels", count(width), count(height))),
  quality: (words) => el("dd", {}, words.length ? list(words) : t("unremarkable")),
  encoding: (name) => el("dd", {}, name.toUpperCase()),
  unlikeness: (found, { refused_from: limit }) =>
    el("dd", {}, limit === undefined ? number(found, 2) : t("unlikeness", number(found, 2), number(limit, 2))),
  age: (years) => el("dd", {}, t("years", number(years, Number.isInteger(years) ? 0 : 1))),
};

function value(name, found, checks) {
  if (found === null || found === "") return el("dd", { class: "hint" }, t("unstated"));
  if (name in VALUES) return VALUES[name](found, checks);
  if (typeof found === "boolean") return el("dd", {}, found ? t("yes") : t("no"));
  if (typeof found === "number") return el("dd", {}, number(found, Number.isInteger(found) ? 0 : 2));
  return english("dd", {}, typeof found === "object" ? JSON.stringify(found) : String(found));
}

export function checksOf(checks) {
  const rows = Object.entries(checks ?? {})
    .filter(([name]) => name !== "refused_from") // said with what it is the limit of
    .map(([name, found]) => el("div", {}, label(name), value(name, found, checks)));
  if (!rows.length) return null;
  return el("div", { class: "checks" }, el("h4", {}, t("checksTitle")), el("dl", {}, rows));
}
