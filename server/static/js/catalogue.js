// The models of the server, and what is known of the one that is asked.

import { models } from "./api.js";
import { byId, number, plural } from "./dom.js";
import { listModels } from "./dialogs.js";
import { settings } from "./settings.js";

let cards = [];

export async function loadModels() {
  cards = await models();
  listModels(cards.map((card) => card.id));
  showModel();
}

// The card of the chosen model, or of the first one; null before the server has answered.
export function card() {
  return cards.find((one) => one.id === settings().model) ?? cards[0] ?? null;
}

// Its `media`, null while unknown.
export function mediaCard() {
  return card()?.media ?? null;
}

// What one medium costs; null while unknown.
export function tokensOf(modality) {
  return mediaCard()?.[modality]?.tokens ?? null;
}

export function showModel() {
  const chosen = card();
  byId("model-name").textContent = chosen?.id ?? "";
  byId("facts").textContent = chosen === null ? "" : facts(chosen);
}

function facts(chosen) {
  const kinds = { image: "A picture", audio: "A sound" };
  const known = Object.keys(kinds).filter((name) => chosen.media?.[name]?.max_items);
  const costs = known.map((name) => `${kinds[name]} costs ${plural(chosen.media[name].tokens, "token")}.`);
  return [
    ...costs,
    `A conversation holds ${number(chosen.context_length)}.`,
  ].filter(Boolean).join(" ");
}
