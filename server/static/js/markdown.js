// A small part of Markdown as elements: paragraphs, lists, code and strong words. Everything else stays the text it is.

import { make } from "./dom.js";

const FENCE = /^ {0,3}```/;
const BULLET = /^ {0,3}[-*•] +(?=\S)/;
const NUMBERED = /^ {0,3}\d{1,9}[.)] +(?=\S)/;

// text -> a fragment of block elements.
export function formatted(text) {
  const blocks = document.createDocumentFragment();
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  let index = 0;
  const whileLines = (test) => {
    const from = index;
    while (index < lines.length && test(lines[index])) index += 1;
    return lines.slice(from, index);
  };
  while (index < lines.length) {
    if (FENCE.test(lines[index])) {
      index += 1;
      const code = whileLines((line) => !FENCE.test(line));
      index += 1;
      blocks.append(make("pre", { tabindex: "0" }, make("code", {}, code.join("\n"))));
    } else if (BULLET.test(lines[index]) || NUMBERED.test(lines[index])) {
      const mark = BULLET.test(lines[index]) ? BULLET : NUMBERED;
      const start = mark === NUMBERED ? Number.parseInt(lines[index], 10) : 1;
      const list = make(mark === BULLET ? "ul" : "ol", { start: start > 1 ? start : null });
      for (const line of whileLines((one) => mark.test(one))) list.append(make("li", {}, ...inline(line.replace(mark, ""))));
      blocks.append(list);
    } else if (lines[index].trim() === "") {
      index += 1;
    } else {
      const special = (line) => FENCE.test(line) || BULLET.test(line) || NUMBERED.test(line) || line.trim() === "";
      blocks.append(make("p", {}, ...inline(whileLines((line) => !special(line)).join("\n"))));
    }
  }
  return blocks;
}

// `code` and **strong**, as nodes.
function inline(text) {
  return text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).map((piece, index) => {
    if (index % 2 === 0) return document.createTextNode(piece);
    return piece.startsWith("`") ? make("code", {}, piece.slice(1, -1)) : make("strong", {}, piece.slice(2, -2));
  });
}
