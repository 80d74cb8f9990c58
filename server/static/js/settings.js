// What the user chose. Settings stay in this browser; the key stays in this tab, and nothing else ever stores it.

const PLACE = "quartet.playground.settings";
const KEY_PLACE = "quartet.playground.key";
const THEME_PLACE = "quartet.playground.theme";
const DEFAULTS = { model: "", system: "", temperature: "0", top_p: "", max_tokens: "256", seed: "" };
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

// Storage may be forbidden; then everything lasts as long as the page.
const held = new Map();

function readFrom(storage, place) {
  try {
    return window[storage].getItem(place);
  } catch {
    return held.get(place) ?? null;
  }
}

function writeTo(storage, place, value) {
  held.set(place, value);
  try {
    if (value) window[storage].setItem(place, value);
    else window[storage].removeItem(place);
  } catch {
    // Held above.
  }
}

// All settings as strings; an empty one is left to the server.
export function settings() {
  let stored = {};
  try {
    stored = JSON.parse(readFrom("localStorage", PLACE) ?? "{}") ?? {};
  } catch {
    // Not ours, or damaged: the defaults will do.
  }
  const known = Object.keys(DEFAULTS).filter((name) => typeof stored[name] === "string");
  return { ...DEFAULTS, ...Object.fromEntries(known.map((name) => [name, stored[name]])) };
}

export function setSetting(name, value) {
  writeTo("localStorage", PLACE, JSON.stringify({ ...settings(), [name]: value }));
}

export function resetSettings() {
  writeTo("localStorage", PLACE, "");
}

// The fields of a request that the settings decide. A number that is none is sent as it was typed: the server says what
// it accepts.
export function options() {
  const chosen = settings();
  const fields = {};
  for (const name of NUMBERS) {
    const typed = chosen[name].trim();
    if (typed !== "") fields[name] = Number.isFinite(Number(typed)) ? Number(typed) : typed;
  }
  return fields;
}

export function apiKey() {
  return readFrom("sessionStorage", KEY_PLACE) ?? "";
}

export function setApiKey(value) {
  writeTo("sessionStorage", KEY_PLACE, value.trim());
}

export function theme() {
  const stored = readFrom("localStorage", THEME_PLACE);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

export function setTheme(value) {
  writeTo("localStorage", THEME_PLACE, value === "auto" ? "" : value);
}
