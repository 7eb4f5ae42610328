// Ask the service: with the key where there is one, again after a while where it is busy, and errors as one kind.

import { store, stored } from "./storage.js";

const STORED_KEY = "pneumonia.key";
const TRIES = 6;
const LONGEST_WAIT = 60; // seconds

export class Problem extends Error {
  // status: 0 where the service was not reached; document: of RFC 9457, empty where there is none.
  constructor(status, document = {}) {
    super(document.detail || document.title || String(status));
    this.status = status;
    this.document = document;
  }

  // There is no model that could answer, and a moment will not bring one.
  get absent() {
    return this.document.code === "no_champion";
  }
}

let enterKey = null; // asks the person: (refused) => Promise of a key
let entering = null;

export function onKeyNeeded(ask) {
  enterKey = ask;
}

async function renewKey(used) {
  if (stored("sessionStorage", STORED_KEY) !== used) return; // entered while this request was under way
  entering ??= enterKey(used !== null).then((key) => {
    store("sessionStorage", STORED_KEY, key);
    entering = null;
  });
  await entering;
}

const pause = (seconds) => new Promise((resume) => setTimeout(resume, 1000 * seconds));

async function failure(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status);
  }
}

// path: below the page's own address; body: a file, sent as it is, or text of a type; signal: gives up;
// waiting: called with the seconds until the next try; sending: called before each try. Returns a response that is ok, otherwise throws a Problem.
export async function ask(path, { body, type = "application/octet-stream", signal, waiting, sending, tries = TRIES } = {}) {
  for (let left = tries - 1; ; ) {
    const key = stored("sessionStorage", STORED_KEY);
    const headers = key === null ? {} : { Authorization: `Bearer ${key}` };
    if (body) headers["Content-Type"] = type;
    let response;
    sending?.();
    try {
      response = await fetch(path, { method: body ? "POST" : "GET", headers, body, signal, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await renewKey(key);
      continue;
    }
    const problem = await failure(response);
    const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? "");
    const busy = (response.status === 503 || response.status === 429) && !problem.absent;
    if (!busy || Number.isNaN(seconds) || left === 0) throw problem;
    left -= 1;
    const wait = Math.min(Math.max(seconds, 0.5), LONGEST_WAIT);
    waiting?.(wait);
    await pause(wait * (1 + Math.random() / 4)); // several pages must not come back at the same moment
    signal?.throwIfAborted();
  }
}

// The answer about one file: a result object; a refusal is one, too.
export async function predict(file, options) {
  try {
    const answer = await (await ask("v1/predict", { ...options, body: file })).json();
    return answer.results[0];
  } catch (error) {
    if (error instanceof Problem && error.status === 422 && error.document.reason) return { ...error.document, refused: true };
    throw error;
  }
}

export const explain = async (file, view, options) =>
  (await ask(`v1/explain?view=${view}`, { ...options, body: file })).blob();

// The service asks for a key, and has been given one.
export const identified = () => stored("sessionStorage", STORED_KEY) !== null;

// words: {event, verdict, label, note, reader}; returns what is stored.
export const giveFeedback = async (words, options) =>
  (await ask("v1/feedback", { ...options, body: JSON.stringify(words), type: "application/json" })).json();

// What was recorded in the last hours, and what was found.
export const monitored = async (hours, options) => (await ask(`v1/monitor?hours=${hours}`, { ...options, tries: 1 })).json();

// A service without a champion says so at once.
export const card = async () => (await ask("v1/model", { tries: 1 })).json();

// The page that shows how the model earned its place: one HTML file.
export const dossier = async () => (await ask("dossier", { tries: 1 })).blob();

export const samples = async () => (await (await ask("v1/samples")).json()).samples;

export const sample = async (url) => (await ask(url.replace(/^\//, ""))).blob();
