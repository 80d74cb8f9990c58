// The page: what its buttons, keys and files do.

import { ApiFailure, answer } from "./api.js";
import { exported, imported } from "./archive.js";
import { card, loadModels, mediaCard, showModel, tokensOf } from "./catalogue.js";
import { silence } from "./chip.js";
import { Composer } from "./composer.js";
import { Conversation, mediaOf, request } from "./conversation.js";
import { countSoon, forgetCount } from "./counter.js";
import { askKey, hasSetting, openSettings, prepareAskKey, prepareSettings, prepareViewer, view } from "./dialogs.js";
import { announce, byId, icon } from "./dom.js";
import { readMedium } from "./media.js";
import { prepareRecording, recording } from "./recording.js";
import { apiKey, setTheme, settings, theme } from "./settings.js";
import { asCurl, asPython } from "./snippets.js";
import { Transcript } from "./transcript.js";

let conversation = new Conversation();
let stopping = null; // ends the answer being written

const transcript = new Transcript(
  byId("turns"),
  { retry: () => run(conversation.again()), edit: editLast, copy: copyText, look: view, setting: openSettings },
  tokensOf,
);
const composer = new Composer(byId("flow"), { change: changed, send, look: view, edit: editLast }, tokensOf);

// The request of the conversation and of what is being written.
function wanted(options) {
  const draft = composer.empty ? [] : composer.parts;
  const { said } = conversation;
  const asked = draft.length > 0 || said.at(-1)?.role !== "assistant" ? said : said.slice(0, -1);
  return { ...request(card()?.id ?? "", asked, draft, options), asked, draft };
}

function changed() {
  const busy = conversation.busy;
  byId("send").disabled = !busy && composer.empty;
  byId("empty").hidden = conversation.turns.length > 0;
  if (!busy) countSoon(counted, countFailed);
  toEnd();
}

function counted() {
  if (card() === null || conversation.busy || composer.empty) return null;
  const { body, find, asked, draft } = wanted({ counting: true });
  return body.messages.some((message) => message.role === "user") ? { body, find, media: mediaOf([...asked, { parts: draft }]) } : null;
}

function countFailed(error, find) {
  const { part, setting } = error ? find(error.param) : {};
  composer.blame(part ?? null, error?.message);
  if (error === null) notify(null);
  else if (error.status === 401) needKey(error);
  else if (part || setting) notify(worded(error, part));
}

function worded(error, part) {
  const words = error.param && error.message.startsWith(`${error.param}: `) ? error.message.slice(error.param.length + 2) : error.message;
  return part?.name ? `${part.name}: ${words}` : `${words.slice(0, 1).toUpperCase()}${words.slice(1)}`;
}

function notify(message, plain = false) {
  const notice = byId("notice");
  notice.hidden = !message;
  notice.classList.toggle("plain", plain);
  notice.textContent = message ?? "";
}

function send() {
  if (conversation.busy || composer.empty || recording()) return;
  const { parts } = composer;
  composer.clear();
  notify(null);
  run(conversation.ask(parts));
}

// Ask for the answer that `turn` expects.
async function run(turn) {
  forgetCount();
  silence();
  byId("count").replaceChildren();
  const { body, find } = request(card()?.id ?? settings().model, conversation.turns.filter((one) => one === turn || one === before(turn) || conversation.counts(one)));
  stopping = new AbortController();
  transcript.show(conversation);
  showSending(true);
  toEnd(true);
  composer.focus();
  announce("Waiting for the answer");
  const started = performance.now();
  try {
    for await (const piece of answer(body, stopping.signal)) {
      if (piece.text) {
        turn.first ??= performance.now() - started;
        turn.state = "writing";
        turn.text += piece.text;
        paintSoon(turn);
      }
      turn.usage = piece.usage ?? turn.usage;
      turn.finish = piece.finish ?? turn.finish;
    }
    turn.state = "done";
    for (const medium of mediaOf(conversation.turns)) medium.accepted = true;
  } catch (error) {
    turn.state = error.name === "AbortError" ? "stopped" : "failed";
    if (turn.state === "failed") {
      const failure = error instanceof ApiFailure ? error : new ApiFailure({ status: 0, message: `The page failed: ${error.message}` });
      const found = find(failure.param);
      turn.error = { message: failure.message, status: failure.status, code: failure.code, param: failure.param, ...found,
        setting: hasSetting(found.setting) ? found.setting : null };
    }
  }
  turn.total = performance.now() - started;
  showSending(false);
  transcript.show(conversation);
  toEnd();
  changed();
  if (turn.state === "done") announce(`Answer: ${turn.text || "empty"}`);
  else if (turn.state === "stopped") announce("Stopped");
  if (turn.error?.status === 401) {
    await needKey(turn.error);
    if (apiKey() && turn === conversation.turns.at(-1)) run(conversation.again());
  }
}

function before(turn) {
  return conversation.turns[conversation.turns.indexOf(turn) - 1];
}

let painting = 0;

function paintSoon(turn) {
  if (painting) return;
  painting = requestAnimationFrame(() => {
    painting = 0;
    if (turn.state !== "writing") return;
    transcript.update(turn, conversation);
    toEnd();
  });
}

// Follow the answer, unless the reader has gone back.
function toEnd(always = false) {
  const { scrollHeight, scrollTop, clientHeight } = document.documentElement;
  if (always || scrollHeight - scrollTop - clientHeight < 160) window.scrollTo({ top: scrollHeight });
}

function showSending(busy) {
  const button = byId("send");
  button.replaceChildren(icon(busy ? "stop" : "send"));
  button.setAttribute("aria-label", busy ? "Stop" : "Send");
  button.title = busy ? "Stop (Escape)" : "Send (Enter)";
  button.disabled = !busy && composer.empty;
}

async function needKey(error) {
  const reason = apiKey() ? error.message : "Ask whoever runs it for one.";
  if (!(await askKey(`${reason.slice(0, 1).toUpperCase()}${reason.slice(1)}`))) return;
  await start();
}

function editLast() {
  if (conversation.busy || conversation.turns.length === 0) return;
  composer.parts = conversation.takeBack();
  transcript.show(conversation);
  changed();
  composer.focus();
}

function startOver() {
  stopping?.abort();
  silence();
  for (const medium of mediaOf([...conversation.turns, { parts: composer.parts }])) URL.revokeObjectURL(medium.url);
  conversation = new Conversation();
  composer.clear();
  notify(null);
  transcript.show(conversation);
  changed();
  composer.focus();
}

async function addFiles(files) {
  notify(null);
  for (const file of files) {
    try {
      composer.insert(await readMedium(file, mediaCard()));
    } catch (error) {
      notify(error.message);
    }
  }
}

async function copyText(text, what = "Copied") {
  byId("menu").hidePopover();
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only pages from this machine or over HTTPS may; an old way remains.
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = text;
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  notify(what, true);
  setTimeout(() => byId("notice").textContent === what && notify(null), 2500);
}

function copyRequest(write, name) {
  const { body } = wanted();
  if (!body.messages.some((message) => message.role === "user")) {
    byId("menu").hidePopover();
    notify("There is no request yet: write a message first.");
    return;
  }
  copyText(write(body, new URL("v1", document.baseURI).href, Boolean(apiKey())), `Copied as ${name}`);
}

function exportConversation() {
  byId("menu").hidePopover();
  if (conversation.said.length === 0) {
    notify("There is no conversation to export yet.");
    return;
  }
  const { name, blob } = exported(conversation.said, settings().system);
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function importConversation(files) {
  try {
    const { turns, draft, system, more } = await imported(files, mediaCard());
    startOver();
    conversation = new Conversation(turns);
    if (system) openSettingsWith(system);
    transcript.show(conversation);
    composer.parts = draft;
    changed();
    if (more > 0) notify(`The first of ${more + 1} conversations of the file was taken.`, true);
  } catch (error) {
    notify(error.message);
  }
}

function openSettingsWith(system) {
  byId("set-system").value = system;
  byId("set-system").dispatchEvent(new Event("input"));
}

function showTheme() {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  const label = { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" }[chosen];
  byId("theme").replaceChildren(icon(chosen === "auto" ? "theme" : chosen));
  byId("theme").setAttribute("aria-label", label);
  byId("theme").title = label;
}

function prepareFiles() {
  const choose = (button, input, act) => {
    byId(button).addEventListener("click", () => {
      byId("menu").hidePopover();
      byId(input).click();
    });
    byId(input).addEventListener("change", async (event) => {
      const files = [...event.target.files];
      event.target.value = ""; // the same file may be chosen again
      await act(files);
    });
  };
  choose("attach", "files", addFiles);
  choose("import", "import-files", importConversation);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0 || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    addFiles(files);
  });
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    byId("veil").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) byId("veil").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    byId("veil").hidden = true;
    if (!carries(event)) return;
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
}

function prepareButtons() {
  for (const button of document.querySelectorAll("[data-icon]")) button.append(icon(button.dataset.icon));
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (conversation.busy) stopping.abort();
    else send();
  });
  byId("new").addEventListener("click", startOver);
  byId("copy-curl").addEventListener("click", () => copyRequest(asCurl, "curl"));
  byId("copy-python").addEventListener("click", () => copyRequest(asPython, "Python"));
  byId("export").addEventListener("click", exportConversation);
  byId("open-settings").addEventListener("click", () => openSettings());
  byId("theme").addEventListener("click", () => {
    setTheme({ auto: "light", light: "dark", dark: "auto" }[theme()]);
    showTheme();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open], [popover]:popover-open")) return;
    if (recording()) recording().cancel();
    else if (conversation.busy) stopping.abort();
  });
}

// Ask the server what it serves; again when there is a new key.
async function start() {
  try {
    await loadModels();
    notify(null);
    composer.refresh();
    transcript.show(conversation);
    changed();
  } catch (error) {
    if (error.status === 401) await needKey(error);
    else notify(error.message);
  }
}

showTheme();
prepareButtons();
prepareFiles();
prepareSettings({ change: () => { showModel(); if (card() === null) start(); changed(); } });
prepareAskKey();
prepareViewer();
prepareRecording({ add: addFiles, fail: notify, seconds: () => mediaCard()?.audio?.max_seconds ?? 30 });
composer.clear();
composer.focus();
start();
