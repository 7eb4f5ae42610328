// Ask the person for the API key, where the service wants one: the form of every page.

import { onKeyNeeded } from "./api.js";
import { byId, el } from "./dom.js";
import { t } from "./i18n.js";

const SENDABLE = /^[!-~]+$/; // in a header

const form = () =>
  el("form", { id: "key", class: "panel caution", hidden: true },
    el("h2", { "data-text": "keyTitle" }),
    el("p", { id: "key-hint", "data-text": "keyHint" }),
    el("p", { id: "key-wrong", class: "wrong", role: "alert" }),
    el("div", { class: "row" },
      el("label", { for: "key-value", "data-text": "keyLabel" }),
      el("input", {
        id: "key-value", name: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true,
        "aria-describedby": "key-hint",
      }),
      el("button", { class: "primary", "data-text": "keyUse" })));

function askForKey(refused) {
  const asked = byId("key");
  asked.hidden = false;
  byId("key-wrong").textContent = refused ? t("keyWrong") : "";
  byId("key-value").focus();
  return new Promise((entered) => {
    asked.onsubmit = (event) => {
      event.preventDefault();
      const key = byId("key-value").value.trim();
      byId("key-wrong").textContent = SENDABLE.test(key) ? "" : t("keyWrong");
      if (!SENDABLE.test(key)) return;
      entered(key);
      asked.hidden = true;
      asked.reset();
    };
  });
}

// Before the page's words are set, so that the form gets its own.
export function takeKeys() {
  byId("main").prepend(form());
  onKeyNeeded(askForKey);
}
