// The page's words in English and French, and the numbers of both languages.

import { byId, el, english } from "./dom.js";
import { store, stored } from "./storage.js";
import en from "./words.en.js";
import fr from "./words.fr.js";

const WORDS = { en, fr };
const NUMBER = /\d+(?:\.\d+)?/g;
const STORED_LANGUAGE = "pneumonia.language";

let language = "en";
const listeners = [];

// The words of one page alone: {en, fr}.
export function addWords(more) {
  for (const [tag, words] of Object.entries(more)) Object.assign(WORDS[tag], words);
}

export const current = () => language;

// Called after each change of language, so that what was drawn by hand is drawn again.
export const onLanguage = (redraw) => listeners.push(redraw);

// French sets a space, at which no line breaks, before these signs.
const spaced = (text) => (language === "fr" ? text.replace(/ (?=[:;?!%»])/g, "\u202f") : text);

// A word, or a sentence with its values: t("key"), t("key", value…). A key that is missing is an error of the page.
export function t(key, ...values) {
  const found = WORDS[language][key];
  if (found === undefined) throw new Error(`no words for ${key} in ${language}`);
  return spaced(typeof found === "function" ? found(...values) : found);
}

// A word of a table (checks, metrics, refusals), or undefined where it is not in there.
export function word(table, key) {
  const found = WORDS[language][table];
  return Object.hasOwn(found, key) ? spaced(found[key]) : undefined;
}

// The words of a list, such as those above the columns of a table.
export const words = (key) => WORDS[language][key].map(spaced);

// A sentence of the service, in the page's language where the page knows it, and marked as English otherwise. In the
// table a number is "#", so that one sentence serves for all.
export function said(tag, text) {
  const plain = new Intl.NumberFormat(language, { useGrouping: false }); // there are years among them
  const numbers = (text.match(NUMBER) ?? []).map((found) => plain.format(found));
  const known = word("sentences", text.replace(NUMBER, "#"));
  return known === undefined ? english(tag, {}, text) : el(tag, {}, known.replace(/#/g, () => numbers.shift()));
}

export function number(value, digits = 3) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export const count = (value) => new Intl.NumberFormat(language).format(value);

// A share of 1 as a percentage.
export function percent(value, digits = 0) {
  const style = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(language, style).format(value);
}

// A probability as a percentage: never "0 %" or "100 %", which would claim a certainty that no model has.
export function probability(value, digits = 1) {
  const least = 0.5 * 10 ** -(digits + 2);
  if (value < least) return `< ${percent(2 * least, digits)}`;
  if (value > 1 - least) return `> ${percent(1 - 2 * least, digits)}`;
  return percent(value, digits);
}

// Probability and threshold with as many digits as it takes to tell one from the other.
export function compared(value, threshold) {
  for (let digits = 1; ; digits += 1) {
    const both = [probability(value, digits), probability(threshold, digits)];
    if (both[0] !== both[1] || value === threshold || digits === 6) return both;
  }
}

export function date(text) {
  const when = new Date(text);
  if (Number.isNaN(when.getTime())) return text;
  return new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short", timeZone: "UTC" }).format(when);
}

// Day and time of day, in UTC, as tables show them.
export const moment = (value) => formatted(value, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });

export const second = (value) => formatted(value, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

export const clock = (value) => formatted(value, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

export const day = (value) => formatted(value, { day: "numeric", month: "short" });

const formatted = (value, style) => new Intl.DateTimeFormat(language, { timeZone: "UTC", ...style }).format(new Date(value));

function preferred() {
  const wished = [stored("localStorage", STORED_LANGUAGE), ...navigator.languages].filter(Boolean).map((tag) => tag.split("-")[0]);
  return wished.find((tag) => Object.hasOwn(WORDS, tag)) ?? "en";
}

function apply(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = t(place.dataset.text);
  for (const place of document.querySelectorAll("[data-label]")) place.setAttribute("aria-label", t(place.dataset.label));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  for (const redraw of listeners) redraw();
}

export function start() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      store("localStorage", STORED_LANGUAGE, button.dataset.language);
      apply(button.dataset.language);
      byId("status").textContent = "";
    });
  }
  apply(preferred());
}
