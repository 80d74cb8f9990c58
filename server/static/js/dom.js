// Making elements. Text only ever enters the page as text: nothing here, or anywhere in the page, parses markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  new: "M12 5v14M5 12h14",
  more: "M5 11.500a.5.5 0 1 0 0 1a.5.5 0 1 0 0-1M12 11.500a.5.5 0 1 0 0 1a.5.5 0 1 0 0-1M19 11.500a.5.5 0 1 0 0 1a.5.5 0 1 0 0-1",
  settings: "M4 8h9M18 8h2M4 16h3M12 16h8M15.5 5.5v5M9.500 13.500v5",
  theme: "M12 3.500a8.500 8.500 0 1 0 0 17zM12 3.500a8.500 8.500 0 0 1 0 17",
  light: "M12 8.500a3.500 3.500 0 1 0 0 7a3.500 3.500 0 1 0 0-7M12 3v1.500M12 19.500v1.500M3 12h1.500M19.500 12h1.500M5.600 5.600l1.100 1.100M17.300 17.300l1.100 1.100M5.600 18.400l1.100-1.100M17.300 6.700l1.100-1.100",
  dark: "M19.500 14.500a8 8 0 0 1-10-10a8 8 0 1 0 10 10z",
  attach: "M19 11.500l-7.300 7.300a4.500 4.500 0 0 1-6.400-6.400l7.600-7.600a3 3 0 0 1 4.300 4.300l-7.600 7.600a1.500 1.500 0 0 1-2.100-2.100l6.900-6.900",
  microphone: "M12 4a2.500 2.500 0 0 1 2.500 2.500v5a2.500 2.500 0 0 1-5 0v-5A2.500 2.500 0 0 1 12 4zM6.500 11.500a5.500 5.500 0 0 0 11 0M12 17v3",
  send: "M12 19V5M6 11l6-6l6 6",
  stop: "M8 8h8v8H8z",
  earlier: "M14.500 6l-6 6l6 6",
  later: "M9.500 6l6 6l-6 6",
  remove: "M7 7l10 10M17 7L7 17",
};

export function byId(id) {
  return document.getElementById(id);
}

// make("button", {class: "quiet", type: "button", onclick: act}, "Copy") -> the element. Properties whose value is null,
// undefined or false are left out; functions are listeners; everything else is an attribute.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  drawing.append(path);
  return drawing;
}

// The loudness of a sound as bars. peaks: numbers from 0 to 1.
export function wave(peaks) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${peaks.length * 3} 24`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("class", "wave");
  drawing.setAttribute("aria-hidden", "true");
  peaks.forEach((peak, index) => {
    const bar = document.createElementNS(SVG, "rect");
    const height = Math.max(1.5, 24 * peak);
    for (const [name, value] of Object.entries({ x: index * 3 + 0.5, y: 12 - height / 2, width: 2, height, rx: 1 })) {
      bar.setAttribute(name, value);
    }
    drawing.append(bar);
  });
  return drawing;
}

let announcing = 0;

// Say something to those who do not see it; the same words twice are said twice.
export function announce(words) {
  const place = byId("announcer");
  place.textContent = "";
  clearTimeout(announcing);
  announcing = setTimeout(() => { place.textContent = words; }, 50);
}

export function number(value) {
  return new Intl.NumberFormat("en").format(value);
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}
