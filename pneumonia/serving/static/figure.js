// A chart with its legend, and the same as a table: both stay in place while their values change.

import { sample } from "./charts.js";
import { el } from "./dom.js";
import { t } from "./i18n.js";

const LEAST = 240; // px
let made = 0;

const heads = (head) => head.map((words) => el("th", { scope: "col" }, words));
const lines = (rows) => rows.map((row) =>
  el("tr", {}, row.map((cell, place) => (place ? el("td", {}, cell) : el("th", { scope: "row" }, cell)))));

// A table that scrolls by itself where it is too wide. head: [words]; rows: [[cell]], the first of a row being its name.
export const table = (label, head, rows) =>
  el("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": label },
    el("table", {}, el("thead", {}, el("tr", {}, heads(head))), el("tbody", {}, lines(rows))));

export class Figure {
  constructor() {
    const id = `figure-${(made += 1)}`;
    this.title = el("h3", { id });
    this.hint = el("p", { class: "hint" });
    this.legend = el("ul", { class: "legend" });
    this.place = el("div", { class: "picture" });
    this.summary = el("summary");
    this.body = el("tbody");
    this.head = el("tr");
    this.scroll = el("div", { class: "scroll", role: "group", tabindex: 0 },
      el("table", {}, el("thead", {}, this.head), this.body));
    this.details = el("details", {}, this.summary, this.scroll);
    this.root = el("figure", { class: "chart", "aria-labelledby": id },
      this.title, this.hint, this.legend, this.place, this.details);
    this.draw = null;
    this.drawn = 0;
    new ResizeObserver(() => this.fit()).observe(this.place);
  }

  // found: {title, hint, legend: [{kind, name, text}], draw: (width) => svg, head, rows}
  update({ title, hint = "", legend = [], draw, head, rows }) {
    this.title.textContent = title;
    this.hint.textContent = hint;
    this.legend.replaceChildren(...legend.map(({ kind, name, text }) => el("li", {}, sample(kind, name), text)));
    this.summary.textContent = t("asTable");
    this.scroll.setAttribute("aria-label", title);
    this.head.replaceChildren(...heads(head));
    this.body.replaceChildren(...lines(rows));
    this.draw = draw;
    this.drawn = 0;
    this.fit();
  }

  fit() {
    const width = Math.max(LEAST, Math.floor(this.place.clientWidth));
    if (!this.draw || width === this.drawn) return;
    this.drawn = width;
    this.place.replaceChildren(this.draw(width));
  }
}
