// ZIP archives, as far as a conversation needs them: written without compression, read with or without it.

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const UTF8 = 0x0800;
const LARGEST = 512 << 20; // bytes of one file of an archive
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// A header of 2-byte ("h") and 4-byte ("w") numbers.
function header(form, ...values) {
  const size = [...form].reduce((sum, kind) => sum + (kind === "w" ? 4 : 2), 0);
  const view = new DataView(new ArrayBuffer(size));
  let offset = 0;
  [...form].forEach((kind, index) => {
    if (kind === "w") view.setUint32(offset, values[index], true);
    else view.setUint16(offset, values[index], true);
    offset += kind === "w" ? 4 : 2;
  });
  return new Uint8Array(view.buffer);
}

// files: [[name, Uint8Array]] -> Blob. Every entry is dated 1980-01-01: the same conversation is the same archive.
export function zip(files) {
  const pieces = [];
  const directory = [];
  let offset = 0;
  for (const [name, bytes] of files) {
    const encoded = new TextEncoder().encode(name);
    const facts = [20, UTF8, 0, 0, 33, crc32(bytes), bytes.length, bytes.length, encoded.length, 0];
    const local = header("whhhhhwwwhh", LOCAL, ...facts);
    directory.push(header("whhhhhhwwwhhhhhww", CENTRAL, 20, ...facts, 0, 0, 0, 0, offset), encoded);
    pieces.push(local, encoded, bytes);
    offset += local.length + encoded.length + bytes.length;
  }
  const size = directory.reduce((sum, piece) => sum + piece.length, 0);
  const end = header("whhhhwwh", END, 0, 0, files.length, files.length, size, offset, 0);
  return new Blob([...pieces, ...directory, end], { type: "application/zip" });
}

// ArrayBuffer -> Map of name to Blob. Throws an Error where it is no archive, or a damaged one.
export async function unzip(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("The archive is damaged.");
  const files = new Map();
  let place = view.getUint32(end + 16, true);
  for (let index = 0; index < view.getUint16(end + 10, true); index += 1) {
    if (view.getUint32(place, true) !== CENTRAL) throw new Error("The archive is damaged.");
    const [method, packed, size] = [view.getUint16(place + 10, true), view.getUint32(place + 20, true), view.getUint32(place + 24, true)];
    const lengths = [28, 30, 32].map((field) => view.getUint16(place + field, true));
    const name = new TextDecoder().decode(new Uint8Array(buffer, place + 46, lengths[0]));
    const local = view.getUint32(place + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (size > LARGEST) throw new Error(`${name} is too large.`);
    if (!name.endsWith("/")) files.set(name, await inflated(new Blob([new Uint8Array(buffer, start, packed)]), method, size));
    place += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  return files;
}

async function inflated(blob, method, size) {
  if (method === 0) return blob;
  if (method !== 8) throw new Error("The archive is packed in a way that is not read here.");
  const pieces = [];
  let length = 0;
  const reader = blob.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return new Blob(pieces);
    length += value.length;
    // What it says of itself is not believed.
    if (length > size) throw new Error("The archive is damaged.");
    pieces.push(value);
  }
}
