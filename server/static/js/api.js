// The server's API: its models, what a conversation would cost, and answers as they are written.

import { eventsOf } from "./sse.js";
import { apiKey } from "./settings.js";

// What the server refused, in its own words.
export class ApiFailure extends Error {
  // status: of HTTP, 0 where no answer came; param: the path of what is to blame, or null.
  constructor({ status, message, param = null, code = null }) {
    super(message);
    this.name = "ApiFailure";
    this.status = status;
    this.param = typeof param === "string" ? param : null;
    this.code = typeof code === "string" ? code : null;
  }
}

const UNREACHABLE = "The server does not answer. Is it still running?";
const CUT = "The answer was cut off: the connection ended before it was complete.";

async function ask(path, { body = null, signal = null } = {}) {
  const headers = {};
  if (body !== null) headers["content-type"] = "application/json";
  if (apiKey()) headers.authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body === null ? "GET" : "POST",
      headers,
      body: body === null ? null : JSON.stringify(body),
      signal,
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error instanceof TypeError && /header/i.test(error.message)) {
      throw new ApiFailure({ status: 401, message: "A key holds only letters, digits and signs of ASCII." });
    }
    throw new ApiFailure({ status: 0, message: UNREACHABLE });
  }
  if (response.ok) return response;
  let error = null;
  try {
    error = (await response.json()).error;
  } catch {
    // Not from this server but from something in front of it.
  }
  const message = typeof error?.message === "string" ? error.message : `The server answered with status ${response.status}.`;
  throw new ApiFailure({ status: response.status, message, param: error?.param, code: error?.code });
}

export async function models() {
  const listed = await (await ask("v1/models")).json();
  return listed.data;
}

// {prompt_tokens, prompt_tokens_details, context_length, ...} of the request `body`, without generating.
export async function count(body, signal) {
  return (await ask("v1/chat/completions/tokens", { body, signal })).json();
}

// Yields {text}, {finish} and {usage} as they come. Throws ApiFailure, also where the answer breaks off.
export async function* answer(body, signal) {
  const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/chat/completions", { body: streamed, signal });
  let ended = false;
  try {
    for await (const data of eventsOf(response)) {
      if (data === "[DONE]") continue;
      let chunk;
      try {
        chunk = JSON.parse(data);
      } catch {
        throw new ApiFailure({ status: 0, message: "The server sent something that is no answer." });
      }
      if (chunk.error) throw new ApiFailure({ status: 500, ...chunk.error, message: String(chunk.error.message) });
      const choice = chunk.choices?.[0];
      if (typeof choice?.delta?.content === "string" && choice.delta.content) yield { text: choice.delta.content };
      if (choice?.finish_reason) {
        ended = true;
        yield { finish: choice.finish_reason };
      }
      if (chunk.usage) yield { usage: chunk.usage };
    }
  } catch (error) {
    if (error instanceof ApiFailure || error.name === "AbortError") throw error;
    throw new ApiFailure({ status: 0, message: CUT });
  }
  if (!ended) throw new ApiFailure({ status: 0, message: CUT });
}
