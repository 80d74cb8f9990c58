// The message being written: plain text fields with media between them, in one flow.
//
// First and last is always a field, and between two media there is one, so that text can go anywhere. Fields are native
// ones: undo, spelling, input methods and screen readers work as everywhere. Shortcuts beyond the buttons: Backspace
// beside a medium selects it and then removes it, the arrows walk over media, Alt with the arrows moves one.

import { blame, chip } from "./chip.js";
import { announce, make } from "./dom.js";
import { tidy } from "./conversation.js";

const GROWS = CSS.supports("field-sizing", "content");
const HINT = "Ask about pictures and sounds";
const CHIP_TYPE = "application/x-quartet-chip";

export class Composer {
  #flow;
  #media = new Map(); // chip -> medium
  #last = null; // the field that had the caret last
  #dragged = null;

  // on: {change, send, look, edit}; tokens(modality): what one medium costs. It is ready after clear().
  constructor(flow, on, tokens) {
    this.#flow = flow;
    this.on = on;
    this.tokens = tokens;
    flow.addEventListener("pointerdown", (event) => {
      if (event.target !== flow) return;
      event.preventDefault();
      this.focus();
    });
    flow.addEventListener("dragover", (event) => this.#over(event));
    flow.addEventListener("drop", (event) => this.#drop(event));
    flow.addEventListener("dragend", () => this.#aim(null));
  }

  get parts() {
    return tidy(
      [...this.#flow.children].map((child) => this.#media.get(child) ?? { type: "text", text: child.value }),
    );
  }

  get empty() {
    return !this.parts.some((part) => part.type !== "text" || part.text.trim());
  }

  set parts(parts) {
    this.#media.clear();
    this.#flow.replaceChildren(this.#field(""));
    this.#last = this.#flow.firstChild;
    for (const part of parts) {
      const end = this.#flow.lastChild;
      if (part.type === "text") end.value += part.text;
      else this.#flow.append(this.#chip(part), this.#field(""));
    }
    this.#settle();
  }

  clear() {
    this.parts = [];
  }

  focus(field = this.#flow.lastChild, position = field.value.length) {
    field.focus();
    field.setSelectionRange(position, position);
  }

  // Put a medium where the caret is.
  insert(medium) {
    const field = this.#last?.isConnected ? this.#last : this.#flow.lastChild;
    this.#place(this.#chip(medium), field, field.selectionStart, field.selectionEnd);
    announce(`${medium.name} added`);
  }

  // Show which part the server refuses. message: null to forget it.
  blame(part, message) {
    for (const [element, medium] of this.#media) blame(element, part && medium === part ? message : null);
    const texts = [...this.#flow.children].filter((child) => !this.#media.has(child));
    for (const field of texts) field.classList.toggle("faulty", Boolean(part?.type === "text" && field.value === part.text));
  }

  // What media cost is known: write it on them.
  refresh() {
    const { parts } = this;
    if (this.#media.size > 0 && !this.#flow.contains(document.activeElement)) this.parts = parts;
  }

  #field(value) {
    const field = make("textarea", {
      class: "text",
      rows: "1",
      enterkeyhint: "send",
      oninput: () => this.#settle(),
      onfocus: () => { this.#last = field; },
      onkeydown: (event) => this.#key(event, field),
    });
    field.value = value;
    return field;
  }

  #chip(medium) {
    const edit = { move: (step) => this.#move(element, step), remove: () => this.#remove(element) };
    const element = chip(medium, { tokens: this.tokens(medium.modality), onLook: this.on.look, edit });
    element.addEventListener("keydown", (event) => this.#chipKey(event, element));
    element.addEventListener("dragstart", (event) => {
      this.#dragged = element;
      event.dataTransfer.setData(CHIP_TYPE, "");
      event.dataTransfer.effectAllowed = "move";
    });
    this.#media.set(element, medium);
    return element;
  }

  // Split a field around [start, end) and put a chip there; the caret goes behind it.
  #place(element, field, start, end = start) {
    const after = this.#field(field.value.slice(end));
    field.value = field.value.slice(0, start);
    field.after(element, after);
    this.#settle();
    this.focus(after, 0);
  }

  // Take a chip out; the fields around it become one. Gives that field and the place between them.
  #take(element) {
    const before = element.previousElementSibling;
    const after = element.nextElementSibling;
    const position = before.value.length;
    before.value += after.value;
    after.remove();
    element.remove();
    return { field: before, position };
  }

  #remove(element) {
    const medium = this.#media.get(element);
    this.#media.delete(element);
    const { field, position } = this.#take(element);
    this.#settle();
    this.focus(field, position);
    announce(`${medium.name} removed`);
  }

  // One step earlier or later: over the text beside it, or over the next medium where there is no text between.
  #move(element, step) {
    const field = step < 0 ? element.previousElementSibling : element.nextElementSibling;
    const beyond = step < 0 ? field.previousElementSibling : field.nextElementSibling;
    if (field.value === "" && beyond === null) return;
    const { length } = field.value;
    const active = document.activeElement;
    const { field: joined, position } = this.#take(element);
    if (length > 0) {
      this.#place(element, joined, step < 0 ? position - length : position + length);
    } else {
      // What was beside the medium has become the joined field's neighbour.
      const other = step < 0 ? beyond.previousElementSibling : beyond.nextElementSibling;
      this.#place(element, other, step < 0 ? other.value.length : 0);
    }
    if (active?.isConnected && !active.disabled && element.contains(active)) active.focus();
    else element.querySelector(".look").focus();
    const place = [...this.#media.keys()].length > 1 ? `, medium ${this.#order(element)} of ${this.#media.size}` : "";
    announce(`${this.#media.get(element).name} moved${place}`);
  }

  #order(element) {
    return [...this.#flow.querySelectorAll(".chip")].indexOf(element) + 1;
  }

  // After every change: names, sizes, what can move, and what the page shows of it.
  #settle() {
    const children = [...this.#flow.children];
    children.forEach((child, index) => {
      if (this.#media.has(child)) {
        const [before, after] = [children[index - 1], children[index + 1]];
        child.querySelector(".earlier").disabled = index === 1 && before.value === "";
        child.querySelector(".later").disabled = index === children.length - 2 && after.value === "";
        return;
      }
      const before = this.#media.get(children[index - 1]);
      const after = this.#media.get(children[index + 1]);
      child.placeholder = children.length === 1 ? HINT : "";
      child.classList.remove("faulty");
      child.setAttribute(
        "aria-label",
        before ? `Text after ${before.name}` : after ? `Text before ${after.name}` : "Message",
      );
      if (!GROWS) {
        child.style.height = "auto";
        child.style.height = `${child.scrollHeight}px`;
      }
    });
    this.on.change();
  }

  #key(event, field) {
    if (event.isComposing) return;
    const { selectionStart: start, selectionEnd: end, value } = field;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.on.send();
    } else if (event.key === "ArrowUp" && this.empty) {
      event.preventDefault();
      this.on.edit();
    } else if (start === end && start === 0 && ["Backspace", "ArrowLeft"].includes(event.key)) {
      this.#enter(event, field.previousElementSibling);
    } else if (start === end && end === value.length && ["Delete", "ArrowRight"].includes(event.key)) {
      this.#enter(event, field.nextElementSibling);
    }
  }

  #enter(event, element) {
    if (element === null || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    element.querySelector(".look").focus();
  }

  #chipKey(event, element) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined && event.altKey) {
      event.preventDefault();
      this.#move(element, step);
    } else if (step !== undefined) {
      event.preventDefault();
      if (step < 0) this.focus(element.previousElementSibling);
      else this.focus(element.nextElementSibling, 0);
    } else if (["Backspace", "Delete"].includes(event.key)) {
      event.preventDefault();
      this.#remove(element);
    }
  }

  #over(event) {
    if (this.#dragged === null || !event.dataTransfer.types.includes(CHIP_TYPE)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#aim(event.target.closest(".chip, .text"));
  }

  #drop(event) {
    if (this.#dragged === null || !event.dataTransfer.types.includes(CHIP_TYPE)) return;
    event.preventDefault();
    event.stopPropagation();
    const target = event.target.closest(".chip, .text") ?? this.#flow.lastChild;
    const element = this.#dragged;
    this.#aim(null);
    if (target === element) return;
    // Before another medium, or at the end of a text.
    const wanted = this.#media.has(target) ? target.previousElementSibling : target;
    const { field, position } = this.#take(element);
    this.#place(element, wanted.isConnected ? wanted : field, wanted.isConnected ? wanted.value.length : position);
  }

  #aim(target) {
    for (const child of this.#flow.children) child.classList.toggle("aimed", child === target && child !== this.#dragged);
    if (target === null) this.#dragged = null;
  }
}
