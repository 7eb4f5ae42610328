// What the service found about an image, as a list of names and values; the service may find what this page does not know.

import { el, english } from "./dom.js";
import { number, t, word } from "./i18n.js";

const readable = (name) => name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

const label = (name) => {
  const known = word("checks", name);
  return known === undefined ? english("dt", {}, readable(name)) : el("dt", {}, known);
};

// A value in words; null where there is nothing to say.
function value(found) {
  if (found === null || found === "") return el("dd", { class: "hint" }, t("unknown"));
  if (typeof found === "boolean") return el("dd", {}, found ? t("yes") : t("no"));
  if (typeof found === "number") return el("dd", {}, number(found, Number.isInteger(found) ? 0 : 2));
  if (Array.isArray(found)) return english("dd", {}, found.join(", "));
  return english("dd", {}, String(found));
}

function rows(checks) {
  return Object.entries(checks).flatMap(([name, found]) => {
    const nested = found !== null && typeof found === "object" && !Array.isArray(found);
    return nested ? rows(found) : [el("div", {}, label(name), value(found))];
  });
}

export function checksOf(checks) {
  const found = rows(checks ?? {});
  return found.length
    ? el("div", { class: "checks" }, el("h4", {}, t("checksTitle")), el("dl", {}, found))
    : null;
}
