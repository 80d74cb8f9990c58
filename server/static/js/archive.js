// A conversation as a file, in the format training reads: one line of JSON a conversation, media as files beside it.
//
// Without media it is `conversation.jsonl`. With media it is a ZIP archive that holds `conversation/train.jsonl` and
// `conversation/media/`: unpacked, a folder that `quartet data check` accepts and a recipe can name.

import { unzip, zip } from "./zip.js";
import { bytesOf, readMedium } from "./media.js";
import { mediaOf, tidy } from "./conversation.js";

const FOLDER = "conversation";
const PARTS = { image: "image_url", audio: "audio_url" };

// {name, blob}. said: turns; system: text of the system message, may be empty.
export function exported(said, system) {
  const names = new Map();
  for (const medium of mediaOf(said)) {
    if (![...names.keys()].some((one) => one.data === medium.data)) names.set(medium, `media/${names.size + 1}.${medium.format}`);
  }
  const nameOf = (medium) => [...names].find(([one]) => one.data === medium.data)[1];
  const messages = said.map((turn) => ({
    role: turn.role,
    content: turn.role === "assistant" ? turn.text : turn.parts.map((part) => {
      if (part.type === "text") return { type: "text", text: part.text };
      return { type: PARTS[part.modality], [PARTS[part.modality]]: { url: nameOf(part) } };
    }),
  }));
  if (system.trim()) messages.unshift({ role: "system", content: system });
  const line = `${JSON.stringify({ id: `playground/${hash(messages)}`, messages, meta: { task: "playground" } })}\n`;
  if (names.size === 0) return { name: `${FOLDER}.jsonl`, blob: new Blob([line], { type: "application/jsonl" }) };
  const files = [...names].map(([medium, name]) => [`${FOLDER}/${name}`, bytesOf(medium)]);
  return { name: `${FOLDER}.zip`, blob: zip([[`${FOLDER}/train.jsonl`, new TextEncoder().encode(line)], ...files]) };
}

// An id that the same conversation gets again: FNV-1a over its text.
function hash(value) {
  let found = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(JSON.stringify(value))) found = Math.imul(found ^ byte, 0x01000193) >>> 0;
  return found.toString(16).padStart(8, "0");
}

// {turns, system, more} of what `exported` wrote, or of any sample with its media: files are a .zip, or a .jsonl and the
// media it names. more: how many further conversations the file holds. Throws an Error that says what is wrong.
export async function imported(files, card) {
  const found = new Map();
  for (const file of files) {
    if (/\.zip$/i.test(file.name)) for (const [name, blob] of await unzip(await file.arrayBuffer())) found.set(name, blob);
    else found.set(file.name, file);
  }
  const listed = [...found].filter(([name]) => /\.jsonl?$/i.test(name));
  if (listed.length !== 1) throw new Error(`Choose one .jsonl file, or an archive with one; these hold ${listed.length}.`);
  const [[place, blob]] = listed;
  const lines = (await blob.text()).split("\n").filter((line) => line.trim());
  let sample;
  try {
    sample = JSON.parse(lines[0] ?? "");
  } catch {
    throw new Error(`${place}: the first line is not JSON.`);
  }
  const media = new Media(found, place, card);
  const turns = [];
  let system = "";
  for (const message of Array.isArray(sample?.messages) ? sample.messages : []) {
    const text = textOf(message.content);
    if (message.role === "system") system = text;
    else if (message.role === "assistant" && turns.at(-1)?.role === "user") {
      turns.push({ role: "assistant", text, state: "done", usage: null, error: null, first: null, total: null });
    } else if (message.role === "user" && turns.at(-1)?.role !== "user") {
      turns.push({ role: "user", parts: await media.parts(message.content) });
    } else throw new Error(`${place}: the turns of user and assistant must alternate, beginning with the user.`);
  }
  if (turns.length === 0) throw new Error(`${place}: the first line holds no conversation.`);
  const draft = turns.at(-1).role === "user" ? turns.pop().parts : [];
  return { turns, draft, system, more: lines.length - 1 };
}

function textOf(content) {
  if (typeof content === "string") return content;
  return (Array.isArray(content) ? content : []).map((part) => (typeof part?.text === "string" ? part.text : "")).join("");
}

// The parts of messages, media looked up among the chosen files: by path from the .jsonl, or by name alone.
class Media {
  constructor(files, place, card) {
    this.files = files;
    this.folder = place.slice(0, place.lastIndexOf("/") + 1);
    this.card = card;
  }

  async parts(content) {
    if (typeof content === "string") return tidy([{ type: "text", text: content }]);
    const parts = [];
    for (const part of Array.isArray(content) ? content : []) {
      parts.push(typeof part?.text === "string" ? { type: "text", text: part.text } : await this.#medium(part ?? {}));
    }
    return tidy(parts);
  }

  async #medium(part) {
    const held = part[part.type] ?? {};
    const url = held.url ?? (typeof held.data === "string" ? `data:;base64,${held.data}` : "");
    const data = /^data:[^,]*;base64,(.*)$/s.exec(url);
    if (data !== null) {
      const bytes = Uint8Array.from(atob(data[1]), (letter) => letter.charCodeAt(0));
      return readMedium(new File([bytes], ""), this.card);
    }
    const name = url.slice(url.lastIndexOf("/") + 1);
    const blob = this.files.get(this.folder + url) ?? this.files.get(name);
    if (blob === undefined) throw new Error(`${url || "A medium"} is missing: choose it together with the .jsonl file.`);
    return readMedium(new File([blob], name), this.card);
  }
}
