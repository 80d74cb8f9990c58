// The turns as the page shows them.

import { blame, chip } from "./chip.js";
import { make, number, plural } from "./dom.js";
import { formatted } from "./markdown.js";

const ORDER = ["image", "audio"];
const ENDS = { length: "The answer reached its longest length.", content_filter: "The answer was cut by a filter." };

export class Transcript {
  #list;
  #shown = new Map(); // turn -> its element
  #chips = new Map(); // part -> its element

  // on: {retry, edit, copy(text), look(medium)}; tokens(modality): what one medium costs.
  constructor(list, on, tokens) {
    this.#list = list;
    this.on = on;
    this.tokens = tokens;
  }

  // Show a conversation as it is now.
  show(conversation) {
    this.#shown.clear();
    this.#chips.clear();
    this.#list.replaceChildren(...conversation.turns.map((turn) => this.#turn(turn, conversation)));
  }

  // Show again what has changed of the last answer, and of the question before it.
  update(turn, conversation) {
    const asked = conversation.turns[conversation.turns.indexOf(turn) - 1];
    for (const one of turn.state === "writing" ? [turn] : [asked, turn]) this.#shown.get(one)?.replaceWith(this.#turn(one, conversation));
  }

  #turn(turn, conversation) {
    const last = conversation.turns.slice(-2).includes(turn) && !conversation.busy;
    const element = turn.role === "user" ? this.#question(turn, conversation, last) : this.#answer(turn, last);
    element.classList.toggle("left-out", !conversation.counts(turn));
    this.#shown.set(turn, element);
    return element;
  }

  #question(turn, conversation, last) {
    const said = turn.parts.map((part) => {
      const element = part.type === "text"
        ? make("span", { class: "words" }, part.text.trim())
        : chip(part, { tokens: this.tokens(part.modality), onLook: this.on.look });
      this.#chips.set(part, element);
      return element;
    });
    const answer = conversation.turns[conversation.turns.indexOf(turn) + 1];
    const counted = spent(turn, conversation);
    const below = make("div", { class: "below" }, counted && make("span", { class: "tally" }, counted),
      last && make("button", { type: "button", class: "edit", onclick: this.on.edit }, "Edit"));
    const element = make("li", { class: "turn user" }, make("h2", { class: "unseen" }, "You"), make("div", { class: "said" }, ...said), below);
    const { part = null } = answer?.error ?? {};
    if (part) this.#blame(part, answer.error.message);
    return element;
  }

  #blame(part, message) {
    const element = this.#chips.get(part);
    if (element?.matches(".chip")) blame(element, message);
  }

  #answer(turn, last) {
    const said = make("div", { class: "said" });
    if (turn.text) said.append(formatted(turn.text));
    else if (["waiting", "writing"].includes(turn.state)) said.append(make("p", { class: "waiting" }, "…"));
    else if (turn.state !== "failed") said.append(make("p", { class: "waiting" }, turn.state === "stopped" ? "Stopped." : "The answer is empty."));
    if (["waiting", "writing"].includes(turn.state)) said.classList.add("writing");
    said.setAttribute("aria-busy", String(turn.state === "waiting" || turn.state === "writing"));
    const below = make("div", { class: "below" }, make("span", { class: "tally" }, tally(turn)));
    if (turn.text && !said.classList.contains("writing")) {
      below.append(make("button", { type: "button", onclick: () => this.on.copy(turn.text) }, "Copy"));
    }
    if (last) below.append(make("button", { type: "button", class: "retry", onclick: this.on.retry }, "Retry"));
    return make("li", { class: `turn assistant ${turn.state}` }, make("h2", { class: "unseen" }, "Answer"), said,
      turn.error && this.#failure(turn.error), below);
  }

  // What went wrong, and with which part. An earlier part is marked where it stands.
  #failure(error) {
    if (error.part) this.#blame(error.part, error.message);
    const facts = [error.status ? `HTTP ${error.status}` : null, error.code, error.param].filter(Boolean).join(" · ");
    const subject = error.part?.name ? make("b", {}, `${error.part.name}: `) : null;
    const message = error.param && error.message.startsWith(`${error.param}: `) ? error.message.slice(error.param.length + 2) : error.message;
    const shown = `${message.slice(0, 1).toUpperCase()}${message.slice(1)}`;
    const change = error.setting && make("button", { type: "button", class: "quiet", onclick: () => this.on.setting(error) }, "Change the settings");
    return make("div", { class: "failure", role: "alert" }, subject, shown, facts ? make("small", {}, facts) : null, change);
  }
}

function tally(turn) {
  const pieces = [];
  if (turn.usage) pieces.push(plural(turn.usage.completion_tokens, "token"), `${number(turn.usage.total_tokens)} in all`);
  if (turn.usage?.prompt_tokens_details?.cached_tokens) pieces.push(`${number(turn.usage.prompt_tokens_details.cached_tokens)} cached`);
  if (turn.total !== null) pieces.push(`${(turn.total / 1000).toFixed(1)} s`);
  if (turn.state === "stopped" && turn.text) pieces.push("stopped");
  if (ENDS[turn.finish]) pieces.push(ENDS[turn.finish]);
  return pieces.join(" · ");
}

// What a question cost, by modality: what its answer's prompt has more than the conversation before it.
function spent(turn, conversation) {
  const counted = conversation.said;
  const index = counted.indexOf(turn);
  const usage = counted[index + 1]?.usage;
  if (index < 0 || !usage) return null;
  const before = index > 0 ? counted[index - 1].usage : { prompt_tokens: 0, completion_tokens: 0, prompt_tokens_details: {} };
  if (!before) return null;
  const total = usage.prompt_tokens - before.prompt_tokens - before.completion_tokens;
  const media = mediaTokens(usage.prompt_tokens_details, before.prompt_tokens_details);
  const text = total - media.reduce((sum, [, tokens]) => sum + tokens, 0);
  if (text < 0) return null; // the conversation before it was another one
  return `${plural(total, "token")}${media.length ? `: ${split([["text", text], ...media])}` : ""}`;
}

// [["image", 4], ...] of the `*_tokens` of a usage, without text and cached ones.
export function mediaTokens(details = {}, before = {}) {
  return Object.entries(details ?? {})
    .map(([name, tokens]) => [name.replace(/_tokens$/, ""), tokens - (before?.[name] ?? 0)])
    .filter(([name, tokens]) => !["text", "cached", "cache_write"].includes(name) && tokens > 0)
    .sort(([one], [other]) => ORDER.indexOf(one) - ORDER.indexOf(other));
}

export function split(counts) {
  return counts.map(([name, tokens]) => `${name} ${number(tokens)}`).join(", ");
}
