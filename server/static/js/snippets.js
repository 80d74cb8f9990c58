// A request as a program: curl for a shell, Python for the official client. Both run as they are.

const KEY_VARIABLE = "OPENAI_API_KEY";

// address: of the API, ending in /v1; keyed: whether the server wants a key (it is read from the environment, never
// written down).
export function asCurl(body, address, keyed) {
  const mark = endMark(body);
  const lines = [
    `curl -sS ${address}/chat/completions \\`,
    `  -H "Content-Type: application/json" \\`,
    ...(keyed ? [`  -H "Authorization: Bearer $${KEY_VARIABLE}" \\`] : []),
    `  -d @- <<'${mark}'`,
    JSON.stringify(body, null, 2),
    mark,
  ];
  return `${lines.join("\n")}\n`;
}

// A line that ends the document and is no line of it.
function endMark(body) {
  const text = JSON.stringify(body, null, 2);
  let mark = "END";
  while (text.split("\n").includes(mark)) mark += "_";
  return mark;
}

export function asPython(body, address, keyed) {
  const media = [];
  const messages = body.messages.map((message) => ({ ...message, content: contentOf(message.content, media) }));
  const { model, messages: _, ...options } = body;
  const lines = [
    ...(keyed ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${python(address)}, api_key=${keyed ? `os.environ["${KEY_VARIABLE}"]` : '"none"'})`,
    "",
    ...media.map(({ name, value }) => `${name} = ${python(value)}`),
    ...(media.length ? [""] : []),
    "stream = client.chat.completions.create(",
    `    model=${python(model)},`,
    `    messages=${indent(python(messages), 1)},`,
    ...Object.entries(options).map(([name, value]) => `    ${name}=${python(value)},`),
    "    stream=True,",
    ")",
    "for chunk in stream:",
    "    if chunk.choices:",
    '        print(chunk.choices[0].delta.content or "", end="", flush=True)',
    "print()",
  ];
  return `${lines.join("\n")}\n`;
}

// Media become variables above the request, the same one once.
function contentOf(content, media) {
  if (!Array.isArray(content)) return content;
  return content.map((part) => {
    if (part.type === "image_url") return { ...part, image_url: { url: variable("picture", part.image_url.url, media) } };
    if (part.type === "input_audio") {
      return { ...part, input_audio: { ...part.input_audio, data: variable("sound", part.input_audio.data, media) } };
    }
    return part;
  });
}

class Name {
  constructor(name) {
    this.name = name;
  }
}

function variable(kind, value, media) {
  let known = media.find((one) => one.value === value);
  if (known === undefined) {
    known = { name: `${kind}_${media.filter((one) => one.kind === kind).length + 1}`, kind, value };
    media.push(known);
  }
  return new Name(known.name);
}

// A value as Python. JSON's strings are Python's, except that a lone half of a character cannot be printed.
function python(value, depth = 0) {
  if (value instanceof Name) return value.name;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const array = Array.isArray(value);
  const items = array
    ? value.map((item) => python(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, depth + 1)}`);
  const [open, close] = array ? "[]" : "{}";
  const line = `${open}${items.join(", ")}${close}`;
  if (items.length === 0 || (line.length < 88 && !line.includes("\n"))) return line;
  const pad = "    ".repeat(depth + 1);
  return `${open}\n${items.map((item) => `${pad}${item},`).join("\n")}\n${"    ".repeat(depth)}${close}`;
}

function indent(text, depth) {
  return text.replaceAll("\n", `\n${"    ".repeat(depth)}`);
}
