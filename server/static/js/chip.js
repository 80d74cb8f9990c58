// One medium, as it stands in a message: a look at it, its name and what it costs. In the composer it can be moved.

import { icon, make, plural, wave } from "./dom.js";

let player = null;
let playing = null;

// medium: of media.js; tokens: what one costs, or null; onLook(medium): show a picture; edit: {move, remove} or null.
export function chip(medium, { tokens = null, onLook, edit = null }) {
  const kind = medium.modality === "image" ? "Picture" : "Sound";
  const cost = tokens === null ? "" : plural(tokens, "token");
  const view = medium.modality === "image"
    ? make("img", { src: medium.url, alt: "", draggable: "false" })
    : wave(medium.peaks ?? Array(24).fill(0.15));
  const fact = make("span", { class: "fact" }, [lengthOf(medium), cost].filter(Boolean).join(" · "));
  const look = make(
    "button",
    {
      type: "button",
      class: "look",
      "aria-label": `${medium.modality === "image" ? "Show" : "Play"} ${medium.name}`,
      onclick: () => (medium.modality === "image" ? onLook(medium) : play(medium, element)),
    },
    view,
    make("span", { class: "label" }, make("span", { class: "name" }, medium.name), fact),
  );
  const act = (name, label, action) =>
    make("button", { type: "button", class: `act ${name}`, "aria-label": `${label} ${medium.name}`, title: label, onclick: action }, icon(name));
  const element = make(
    "span",
    {
      class: `chip ${medium.modality === "image" ? "picture" : "sound"}`,
      role: "group",
      "aria-label": [`${kind} ${medium.name}`, lengthOf(medium), cost].filter(Boolean).join(", "),
      draggable: edit ? "true" : null,
    },
    look,
    edit && act("earlier", "Move earlier:", () => edit.move(-1)),
    edit && act("later", "Move later:", () => edit.move(1)),
    edit && act("remove", "Remove", () => edit.remove()),
  );
  return element;
}

// Show on a chip that the server refuses its medium, or no longer.
export function blame(element, message) {
  element.classList.toggle("faulty", Boolean(message));
  const look = element.querySelector(".look");
  if (message) {
    look.setAttribute("aria-invalid", "true");
    element.title = message;
  } else {
    look.removeAttribute("aria-invalid");
    element.removeAttribute("title");
  }
}

function lengthOf(medium) {
  return medium.seconds === null ? "" : `${medium.seconds.toFixed(1)} s`;
}

function play(medium, element) {
  const same = playing === element;
  silence();
  if (same) return;
  player = new Audio(medium.url);
  playing = element;
  element.classList.add("playing");
  player.onended = silence;
  player.onerror = silence;
  player.play().catch(silence);
}

export function silence() {
  player?.pause();
  playing?.classList.remove("playing");
  player = null;
  playing = null;
}
