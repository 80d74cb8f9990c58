// Server-sent events from the bytes of an answer, however they were cut into pieces.

// Push text, get the data of every event it completes.
export class EventParser {
  #rest = "";

  push(text) {
    this.#rest += text;
    const events = [];
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#rest);
      if (end === null) return events;
      const lines = this.#rest.slice(0, end.index).split(/\r\n|\n|\r/);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).replace(/^ /, ""));
      if (data.length > 0) events.push(data.join("\n"));
    }
  }
}

// The data of each event of a response, as soon as it is there.
export async function* eventsOf(response) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      yield* parser.push(done ? `${decoder.decode()}\n\n` : decoder.decode(value, { stream: true }));
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
