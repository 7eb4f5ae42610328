// The reader's name, which goes with a word about an answer where no API key says who speaks.

import { identified } from "./api.js";
import { byId } from "./dom.js";
import { store, stored } from "./storage.js";

const STORED_READER = "pneumonia.reader";

// Empty where the key names the reader, or nobody does.
export const readerName = () => (identified() ? "" : (stored("sessionStorage", STORED_READER) ?? ""));

// changed: called where another reader speaks from now on.
export function takeName(changed) {
  const field = byId("reader-name");
  field.value = readerName();
  field.addEventListener("change", () => {
    field.value = field.value.trim();
    store("sessionStorage", STORED_READER, field.value);
    changed();
  });
}

// wanted: there is an answer that can be spoken about.
export function showName(wanted) {
  byId("reader").hidden = !wanted || identified();
}
