// Keep a few words in the browser. Where it forbids that, they are kept for as long as the page is open.

const memory = new Map();

// area: "localStorage", or "sessionStorage" for what must not outlive the tab.
export function stored(area, name) {
  try {
    return globalThis[area].getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
}

export function store(area, name, value) {
  try {
    globalThis[area].setItem(name, value);
  } catch {
    memory.set(name, value);
  }
}
