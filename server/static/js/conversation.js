// The conversation: its turns, the request they make, and which part of it a `param` of the server is about.
//
// A turn of the user is {role: "user", parts}; a part is {type: "text", text} or a medium of media.js. A turn of the
// assistant is {role: "assistant", text, state, ...} with state "waiting", "writing", "done", "stopped" or "failed".
// They alternate; a question whose answer is empty is left out of later requests, because the server would refuse two
// questions in a row.

import { countedPart, partOf } from "./media.js";
import { options, settings } from "./settings.js";

export class Conversation {
  constructor(turns = []) {
    this.turns = turns;
  }

  get busy() {
    return ["waiting", "writing"].includes(this.turns.at(-1)?.state);
  }

  // Add a question; gives the turn of its answer.
  ask(parts) {
    this.turns.push({ role: "user", parts });
    return this.#expect();
  }

  // Forget the last answer; gives the turn of the new one.
  again() {
    if (this.turns.at(-1)?.role === "assistant") this.turns.pop();
    return this.#expect();
  }

  // Take the last question and its answer back; gives its parts.
  takeBack() {
    if (this.turns.at(-1)?.role === "assistant") this.turns.pop();
    return this.turns.pop()?.parts ?? [];
  }

  #expect() {
    const turn = { role: "assistant", text: "", state: "waiting", usage: null, error: null, first: null, total: null };
    this.turns.push(turn);
    return turn;
  }

  // Whether later requests hold a turn.
  counts(turn) {
    const index = this.turns.indexOf(turn);
    const reply = turn.role === "user" ? this.turns[index + 1] : turn;
    return reply === undefined || reply.text !== "" || ["waiting", "writing"].includes(reply.state);
  }

  // What has been said so far.
  get said() {
    return this.turns.filter((turn) => this.counts(turn));
  }
}

// The body of a chat completion, and where its parts come from: {body, find}. `find(param)` gives {turn, part, setting},
// each undefined where it does not apply. said: turns; draft: parts of a question that is not sent yet; counting: media
// the server has read before need not be sent again.
export function request(model, said, draft = [], { counting = false } = {}) {
  const { system } = settings();
  const sources = system.trim() ? [null] : [];
  const messages = system.trim() ? [{ role: "system", content: system }] : [];
  const asked = draft.length > 0 ? [...said, { role: "user", parts: draft }] : said;
  for (const turn of asked) {
    if (turn.role === "assistant" && (turn.text === "" || turn === asked.at(-1))) continue;
    sources.push(turn);
    messages.push({ role: turn.role, content: turn.role === "user" ? turn.parts.map(convert(counting)) : turn.text });
  }
  const body = { model, messages, ...options() };
  return { body, find: (param) => find(param, sources) };
}

function convert(counting) {
  return (part) => {
    if (part.type === "text") return { type: "text", text: part.text };
    return counting ? countedPart(part) : partOf(part);
  };
}

function find(param, sources) {
  const match = /^messages\[(\d+)\](?:\.content\[(\d+)\])?/.exec(param ?? "");
  if (match === null) return { setting: /^\w+$/.test(param ?? "") ? param : undefined };
  const turn = sources[Number(match[1])];
  if (turn === null) return { setting: "system" };
  return { turn, part: match[2] === undefined ? undefined : turn?.parts?.[Number(match[2])] };
}

export function mediaOf(turns) {
  return turns.flatMap((turn) => turn.parts ?? []).filter((part) => part.type === "medium");
}

// Texts that are empty are no parts; texts beside each other are one.
export function tidy(parts) {
  const kept = [];
  for (const part of parts) {
    if (part.type !== "text") kept.push(part);
    else if (kept.at(-1)?.type === "text") kept[kept.length - 1] = { type: "text", text: kept.at(-1).text + part.text };
    else if (part.text !== "") kept.push({ type: "text", text: part.text });
  }
  return kept;
}
