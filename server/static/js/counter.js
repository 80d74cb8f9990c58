// What the conversation would cost with the message being written, counted by the server while one writes.

import { ApiFailure, count } from "./api.js";
import { byId, make, number, plural } from "./dom.js";
import { mediaTokens, split } from "./transcript.js";

const PAUSE = 350; // milliseconds without a change before the server is asked

let timer = 0;
let asking = null;

// build(): {body, find, media} of what to count, or null for nothing; failed(error, find): where it went wrong.
export function countSoon(build, failed) {
  clearTimeout(timer);
  asking?.abort();
  timer = setTimeout(() => countNow(build, failed), PAUSE);
}

export function forgetCount() {
  clearTimeout(timer);
  asking?.abort();
}

async function countNow(build, failed) {
  const asked = build();
  if (asked === null) {
    byId("count").replaceChildren();
    return;
  }
  asking = new AbortController();
  try {
    const counted = await count(asked.body, asking.signal);
    for (const medium of asked.media) medium.accepted = true;
    showCount(counted);
    failed(null, asked.find);
  } catch (error) {
    if (!(error instanceof ApiFailure)) return; // newer words have come
    byId("count").replaceChildren();
    failed(error, asked.find);
  }
}

function showCount(counted) {
  const details = counted.prompt_tokens_details ?? {};
  const media = mediaTokens(details);
  byId("count").replaceChildren(
    make("b", {}, plural(counted.prompt_tokens, "token")),
    media.length ? make("span", { class: "split" }, split([["text", details.text_tokens ?? 0], ...media])) : "",
    make("span", { class: "room" }, `${number(counted.max_completion_tokens)} left`),
  );
}
