// From a file to a medium of a message. What a file is, its bytes say; what the server does not read is converted here.

import { decodeSound, encodeWav, peaksOf } from "./wav.js";

// Longer files are shown without their shape: decoding them would hold the page up for nothing.
const LARGEST_DECODED = 40 << 20;
const SIGNATURES = [
  ["image", "png", /^\x89PNG/],
  ["image", "jpeg", /^\xff\xd8\xff/],
  ["image", "gif", /^GIF8/],
  ["image", "webp", /^RIFF[^]{4}WEBP/],
  ["image", "bmp", /^BM/],
  ["image", "tiff", /^(?:II\*\0|MM\0\*)/],
  ["image", "avif", /^[^]{4}ftyp(?:avif|avis)/],
  ["image", "heic", /^[^]{4}ftyp(?:hei[cfsx]|mif1)/],
  ["image", "svg", /^\s*<(?:\?xml|!doctype svg|!-|svg)/i],
  ["audio", "wav", /^RIFF[^]{4}WAVE/],
  ["audio", "flac", /^fLaC/],
  ["audio", "ogg", /^OggS/],
  ["audio", "mp3", /^(?:ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff])/],
  ["audio", "aiff", /^FORM[^]{4}AIF/],
  ["audio", "aac", /^\xff[\xf0\xf1\xf8\xf9]/],
  ["audio", "mp4", /^[^]{4}ftyp/],
  ["audio", "webm", /^\x1a\x45\xdf\xa3/],
];
// How /v1/models spells what the server reads; used until it has answered.
const READ = { image: ["png", "jpeg", "webp", "gif", "bmp", "tiff"], audio: ["wav", "flac", "ogg", "mp3", "aiff", "aac", "mp4", "webm"] };

let made = 0;

// {modality, format} of the first bytes of a file, or null.
export function recognise(bytes) {
  const start = String.fromCharCode(...new Uint8Array(bytes.slice(0, 64)));
  const found = SIGNATURES.find(([, , pattern]) => pattern.test(start));
  return found ? { modality: found[0], format: found[1] } : null;
}

// card: `media` of the model's entry in /v1/models. Throws an Error that says what to do.
export async function readMedium(file, card = null) {
  const bytes = await file.arrayBuffer();
  const kind = recognise(bytes);
  if (kind === null) throw new Error(`${file.name || "This"} is neither a picture nor a sound that is known here.`);
  const accepted = card?.[kind.modality]?.formats ?? READ[kind.modality];
  if (card !== null && !card[kind.modality]) {
    throw new Error(`This model does not take ${kind.modality === "image" ? "pictures" : "sounds"}.`);
  }
  const converts = !accepted.includes(kind.format);
  let blob = new Blob([bytes], { type: `${kind.modality}/${kind.format === "svg" ? "svg+xml" : kind.format}` });
  let facts;
  try {
    if (kind.modality === "image") {
      facts = await pictureFacts(blob, converts);
    } else {
      facts = await soundFacts(bytes, converts);
    }
  } catch {
    if (converts) {
      throw new Error(`${file.name || "This"} is ${kind.format.toUpperCase()}, which neither the server nor this browser reads.`);
    }
    facts = {}; // the server will say what is wrong with it
  }
  blob = facts.converted ?? blob;
  const format = facts.converted ? (kind.modality === "image" ? "png" : "wav") : kind.format;
  made += 1;
  return {
    type: "medium",
    id: made,
    modality: kind.modality,
    name: file.name || `${kind.modality === "image" ? "picture" : "sound"}.${format}`,
    format,
    data: await base64(blob),
    size: blob.size,
    url: URL.createObjectURL(blob),
    width: facts.width ?? null,
    height: facts.height ?? null,
    seconds: facts.seconds ?? null,
    peaks: facts.peaks ?? null,
    accepted: false, // whether the server has read it once
  };
}

async function pictureFacts(blob, converts) {
  const url = URL.createObjectURL(blob);
  try {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const width = picture.naturalWidth || 512;
    const height = picture.naturalHeight || 512;
    if (!converts) return { width, height };
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(picture, 0, 0, width, height);
    const converted = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
    if (converted === null) throw new Error("too large for this browser");
    return { width, height, converted };
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function soundFacts(bytes, converts) {
  if (!converts && bytes.byteLength > LARGEST_DECODED) return {};
  const sound = await decodeSound(bytes);
  return { seconds: sound.duration, peaks: peaksOf(sound), converted: converts ? encodeWav(sound) : null };
}

export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

export function bytesOf(medium) {
  return Uint8Array.from(atob(medium.data), (letter) => letter.charCodeAt(0));
}

// The content part of the API for a medium.
export function partOf(medium) {
  if (medium.modality === "audio") {
    return { type: "input_audio", input_audio: { data: medium.data, format: medium.format } };
  }
  return { type: "image_url", image_url: { url: `data:image/${medium.format};base64,${medium.data}` } };
}

// Media of which only the number counts. Each costs the same tokens whatever it shows, so counting need not send again
// what the server has read once.
const BLANKS = {
  image: { modality: "image", format: "png",
    data: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==" },
  audio: { modality: "audio", format: "wav", data: blankSound() },
};

function blankSound() {
  const samples = 1600;
  const head = [82, 73, 70, 70, 164, 12, 0, 0, 87, 65, 86, 69, 102, 109, 116, 32, 16, 0, 0, 0, 1, 0, 1, 0, 128, 62, 0, 0, 0,
    125, 0, 0, 2, 0, 16, 0, 100, 97, 116, 97, 128, 12, 0, 0];
  return btoa(String.fromCharCode(...head) + "\0".repeat(2 * samples));
}

export function countedPart(medium) {
  return partOf(medium.accepted ? BLANKS[medium.modality] : medium);
}
