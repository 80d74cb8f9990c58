// What opens above the page: settings, the question for a key, a picture in full.

import { byId, make, number } from "./dom.js";
import { apiKey, resetSettings, setApiKey, setSetting, settings } from "./settings.js";

const FIELDS = ["model", "system", "temperature", "top_p", "max_tokens", "seed"];

// on.change(): a setting or the key is another one.
export function prepareSettings(on) {
  const dialog = byId("settings");
  for (const name of FIELDS) {
    byId(`set-${name}`).addEventListener("input", (event) => {
      setSetting(name, event.target.value);
      event.target.classList.remove("faulty");
      byId("settings-problem").hidden = true;
    });
  }
  byId("set-key").addEventListener("input", (event) => setApiKey(event.target.value));
  byId("settings-reset").addEventListener("click", () => {
    resetSettings();
    fill();
  });
  byId("settings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener("close", on.change);
  closeOutside(dialog);
}

function fill() {
  const chosen = settings();
  for (const name of FIELDS) byId(`set-${name}`).value = chosen[name];
  byId("set-key").value = apiKey();
  const select = byId("set-model");
  if (!select.value && select.options.length) select.selectedIndex = 0;
}

// blamed: {setting, message} of an error, to be shown at its field.
export function openSettings(blamed = null) {
  fill();
  for (const name of FIELDS) byId(`set-${name}`).classList.toggle("faulty", blamed?.setting === name);
  byId("settings-problem").hidden = blamed === null;
  byId("settings-problem").textContent = blamed?.message ?? "";
  byId("settings").showModal();
  if (blamed) byId(`set-${blamed.setting}`)?.focus();
}

export function hasSetting(name) {
  return FIELDS.includes(name);
}

// The models there are, in the settings' list.
export function listModels(names) {
  byId("set-model").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
}

// Asks for a key; whether one was given.
export function askKey(reason) {
  const dialog = byId("ask-key");
  if (dialog.open) return Promise.resolve(false);
  byId("ask-key-reason").textContent = reason;
  byId("key").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  byId("key").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}

export function prepareAskKey() {
  const dialog = byId("ask-key");
  byId("ask-key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setApiKey(byId("key").value);
    byId("key").value = "";
    dialog.close("given");
  });
  byId("ask-key-cancel").addEventListener("click", () => dialog.close());
}

export function prepareViewer() {
  const dialog = byId("viewer");
  byId("viewer-close").addEventListener("click", () => dialog.close());
  closeOutside(dialog);
}

export function view(medium) {
  byId("viewer-picture").src = medium.url;
  byId("viewer-picture").alt = medium.name;
  const size = medium.width ? `, ${number(medium.width)} × ${number(medium.height)}` : "";
  byId("viewer-facts").textContent = `${medium.name}${size}, ${number(Math.ceil(medium.size / 1024))} KiB`;
  byId("viewer").showModal();
}

function closeOutside(dialog) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}
