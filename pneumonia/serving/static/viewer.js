// The picture of one file: the radiograph, and over it the heat map, which a slider fades in.

import { Problem, explain } from "./api.js";
import { el } from "./dom.js";
import { percent, t } from "./i18n.js";
import { reasonOf } from "./reasons.js";

// Pictures are read when they come into sight, not hundreds at a time.
const shows = new WeakMap();
const seen = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    seen.unobserve(target);
    shows.get(target)();
  }
}, { rootMargin: "50%" });

const STEP = 5; // percent of the slider's way that a key moves it

export class Viewer {
  constructor(file) {
    this.file = file;
    this.urls = [];
    this.heat = null; // a promise, once the heat map has been asked for
    this.error = null;
    this.base = el("img", { class: "base", alt: "", hidden: true });
    this.cover = el("img", { class: "cover", alt: "", hidden: true });
    this.empty = el("p", { class: "empty" });
    this.stack = el("div", { class: "stack" }, this.base, this.cover, this.empty);
    this.slider = el("input", { type: "range", min: 0, max: 100, step: STEP, value: 0 });
    this.ends = [el("span"), el("span")];
    this.hint = el("p", { class: "hint" });
    const track = el("div", { class: "track" }, this.ends[0], this.slider, this.ends[1]);
    this.controls = el("div", { class: "blend", hidden: true }, track, this.hint);
    this.root = el("figure", { class: "viewer" }, this.stack, this.controls);
    for (const event of ["focus", "pointerenter", "pointerdown"]) {
      this.slider.addEventListener(event, () => this.loadHeat());
    }
    this.slider.addEventListener("input", () => this.fade());
    this.base.addEventListener("load", () => this.fit());
    this.base.addEventListener("error", () => this.lacksPicture());
    shows.set(this.root, () => this.show(this.base, file));
    seen.observe(this.root);
    this.relabel();
  }

  show(image, blob) {
    const url = URL.createObjectURL(blob);
    this.urls.push(url);
    image.src = url;
  }

  fit() {
    this.base.hidden = false;
    this.empty.hidden = true;
    this.stack.style.setProperty("--ratio", String(this.base.naturalWidth / this.base.naturalHeight));
  }

  // The browser cannot draw the file (DICOM): the service can, once it has answered.
  lacksPicture() {
    this.base.hidden = true;
    this.empty.hidden = false;
    this.undrawn = true;
    if (this.readable) this.loadPicture();
    this.relabel();
  }

  async loadPicture() {
    if (this.asked) return;
    this.asked = true;
    try {
      this.show(this.base, await explain(this.file, "image"));
      this.undrawn = false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error; // without a picture the answer stays as it is
    }
  }

  // result: the service's answer, or its refusal, which has no heat map.
  judge(result) {
    this.readable = result.code !== "unreadable";
    this.controls.hidden = Boolean(result.refused);
    this.stack.classList.toggle("inverted", Boolean(result.checks?.inverted)); // as the model has seen it
    if (this.undrawn && this.readable) this.loadPicture();
  }

  loadHeat() {
    this.heat ??= explain(this.file, "overlay").then(
      (blob) => {
        this.error = null;
        this.show(this.cover, blob);
        this.cover.hidden = false;
        this.relabel();
      },
      (error) => {
        this.error = error;
        this.heat = null;
        this.relabel();
      },
    );
    this.relabel();
    return this.heat;
  }

  fade() {
    this.loadHeat();
    this.cover.style.opacity = String(this.slider.valueAsNumber / 100);
    this.slider.setAttribute("aria-valuetext", this.blended);
  }

  relabel() {
    this.base.alt = t("radiograph", this.file.name);
    this.empty.textContent = this.undrawn ? t("noPicture") : "";
    this.ends[0].textContent = t("film");
    this.ends[1].textContent = t("heat");
    this.slider.setAttribute("aria-label", t("blend"));
    this.slider.setAttribute("aria-valuetext", this.blended);
    const waiting = this.heat !== null && this.cover.hidden;
    if (this.error) this.hint.textContent = t("heatFailed", reasonOf(this.error));
    else this.hint.textContent = waiting ? t("heatWaiting") : t("heatHint");
  }

  get blended() {
    const share = this.slider.valueAsNumber;
    return t("blendValue", share === 0 ? null : percent(share / 100));
  }

  forget() {
    seen.unobserve(this.root);
    for (const url of this.urls) URL.revokeObjectURL(url);
  }
}
