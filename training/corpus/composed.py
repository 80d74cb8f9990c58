"""Conversations composed from the media of other sources: what is known of each medium, how they are put together.

Training conversations use training media only, test conversations test media only. Media are not copied: the paths lead
to the other sources (``../scenes/media/...``), so each is encoded once. There is no ``meta.label``: a linear probe over
one medium says nothing about a question that needs two.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from training.corpus import samples
from training.corpus.phrases import question
from training.corpus.registry import Context, Plan
from training.corpus.scenes import COLOURS, SHAPES
from training.corpus.words import THINGS

_MALAY_SHARE = 0.25
_WITHOUT_ARTICLE = {"grapes", "scissors", "bread", "corn"}
_LEAD = {
    "en": ("Here is one:", "Take this:", "First:", "Now this one:"),
    "ms": ("Ini satu:", "Ambil ini:", "Mula-mula:", "Sekarang ini:"),
}


@dataclass(frozen=True, kw_only=True)
class Medium:
    """A medium of another source with what is known of it, per language."""

    url: str
    licence: str
    names: dict[str, str]


@dataclass(kw_only=True)
class Pool:
    """The media of one split by what they can be asked for; the keys are English."""

    things: dict[str, list[Medium]] = field(default_factory=lambda: defaultdict(list))
    everyday: dict[str, list[Medium]] = field(default_factory=lambda: defaultdict(list))
    colours: dict[str, list[Medium]] = field(default_factory=lambda: defaultdict(list))
    shapes: dict[str, list[Medium]] = field(default_factory=lambda: defaultdict(list))
    sounds: dict[str, list[Medium]] = field(default_factory=lambda: defaultdict(list))
    words: dict[str, dict[str, list[Medium]]] = field(
        default_factory=lambda: {language: defaultdict(list) for language in samples.LANGUAGES}
    )
    digits: dict[str, dict[str, list[Medium]]] = field(
        default_factory=lambda: {language: defaultdict(list) for language in samples.LANGUAGES}
    )


@dataclass(kw_only=True)
class Dialog:
    """A conversation in the making."""

    messages: list[dict[str, object]] = field(default_factory=list)
    media: list[Medium] = field(default_factory=list)

    def turn(self, parts: list[samples.Part | Image | Sound], reply: str) -> Dialog:
        """Add a user message and its answer; media are noted on the way."""
        content: list[samples.Part] = []
        for part in parts:
            if isinstance(part, Image | Sound):
                self.media.append(part.medium)
                make = samples.image if isinstance(part, Image) else samples.audio
                content.append(make(part.medium.url))
            else:
                content.append(part)
        self.messages += [samples.user(*content), samples.answer(reply)]
        return self


@dataclass(frozen=True)
class Image:
    """A picture in its place in a message."""

    medium: Medium


@dataclass(frozen=True)
class Sound:
    """A sound in its place in a message."""

    medium: Medium


Kind = Callable[[random.Random, Pool, str, int], Dialog]
"""Makes the dialog of a number, in a language, of these media.

Raises LookupError or ValueError where there is nothing to choose from.
"""


def compose(context: Context, source: str, kinds: Mapping[str, tuple[Kind, int, int]]) -> Plan:
    """Compose a source from those that are already in the output folder; what they lack is skipped.

    Args:
        context: where they lie, and the seed.
        source: name of the new one.
        kinds: by task, what makes a dialog, and how many of them are for training and for the test.
    """
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    skipped: dict[str, int] = defaultdict(int)
    licences: set[str] = set()
    for place, split in enumerate(splits):
        pool = gather(context, split)
        for task, (make, *counts) in kinds.items():
            rng = random.Random(samples.seed(source, context.seed, split, task))
            for index in range(counts[place]):
                language = "ms" if rng.random() < _MALAY_SHARE else "en"
                try:
                    dialog = make(rng, pool, language, index)
                except (LookupError, ValueError):  # nothing to choose from: a source is missing or tiny
                    skipped[f"{source}/{task} for lack of media"] += 1
                    continue
                used = sorted({medium.licence for medium in dialog.media})
                licences.update(used)
                splits[split].append(
                    samples.sample(
                        dialog.messages,
                        task=f"{source}/{task}",
                        language=language,
                        source=source,
                        licence=" AND ".join(used),
                    )
                )
    provenance = {
        "licence": " AND ".join(sorted(licences)),
        "origin": f"composed by training/corpus/{source}.py; see source.json of the source each medium lies in",
        "packages": [],
    }
    return Plan(train=splits["train"], test=splits["test"], provenance=provenance, skipped=dict(skipped))


def gather(context: Context, split: str) -> Pool:
    """The media of a split and what is known of them."""
    pool = Pool()
    named: dict[str, dict[str, str]] = defaultdict(dict)  # url -> language -> name
    rows: list[tuple[samples.Sample, str, str]] = []
    for source in ("scenes", "speech", "stamps", "sounds", "emoji"):
        path = context.output / source / f"{split}.jsonl"
        for value in samples.read(path) if path.is_file() else []:
            url = f"../{source}/{samples.media(value)[0]}"
            rows.append((value, url, value["messages"][-1]["content"]))
            if value["meta"]["task"] in ("stamps/name", "sounds/name"):
                named[url][value["meta"]["language"]] = value["messages"][-1]["content"]
    for value, url, answer in rows:
        meta = value["meta"]
        task, language, label, licence = meta["task"], meta["language"], meta.get("label"), meta["licence"]
        if task.startswith("speech/") and task.split("/")[1].split("-")[0] in ("words", "digits"):
            table = pool.words if "words" in task else pool.digits
            table[language][answer].append(Medium(url=url, licence=licence, names={language: answer}))
        if language != "en":
            continue
        if task == "scenes/colour":
            pool.colours[label].append(Medium(url=url, licence=licence, names={"en": label, "ms": COLOURS[label][0]}))
        elif task == "scenes/shape":
            pool.shapes[label].append(Medium(url=url, licence=licence, names={"en": label, "ms": SHAPES[label]}))
        elif task == "emoji/common":
            medium = Medium(url=url, licence=licence, names={"en": label, "ms": THINGS[label][0]})
            pool.everyday[label].append(medium)
            pool.things[label].append(medium)
        elif task == "stamps/name" and len(answer.split()) <= 2:
            pool.things[answer].append(Medium(url=url, licence=licence, names=named[url]))
        elif task == "sounds/name":
            pool.sounds[answer].append(Medium(url=url, licence=licence, names=named[url]))
    return pool


def two(rng: random.Random, table: dict[str, list[Medium]], language: str) -> tuple[Medium, Medium]:
    """Media of two different keys that both have a name in ``language``."""
    keys = [key for key in table if any(language in medium.names for medium in table[key])]
    first, second = (
        rng.choice([medium for medium in table[key] if language in medium.names]) for key in rng.sample(sorted(keys), 2)
    )
    return first, second


def one(rng: random.Random, table: dict[str, list[Medium]]) -> Medium:
    """Any medium of any key, each key as likely as the others."""
    return rng.choice(table[rng.choice(sorted(table))])


def ask_about(rng: random.Random, pool: Pool, task: str, language: str) -> tuple[Image | Sound, str, str]:
    """A medium that a question of `task` can be about, the question, and the answer."""
    tables = {
        "scenes/colour": pool.colours,
        "scenes/shape": pool.shapes,
        "name": pool.everyday,
        "digits": pool.digits[language],
        "words": pool.words[language],
    }
    medium = one(rng, tables[task])
    part = Sound(medium) if task in ("digits", "words") else Image(medium)
    return part, question(rng, task, language), medium.names[language]


def phrase(name: str, language: str) -> str:
    """'dog' -> 'a dog'; Malay has no article."""
    if language == "ms" or name in _WITHOUT_ARTICLE or name.endswith("s"):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def arrange(
    rng: random.Random, media: list[Image | Sound], words: str, language: str
) -> list[samples.Part | Image | Sound]:
    """Media before the question, after it, or with text between them."""
    style = rng.randrange(3)
    if style == 0:
        return [*media, samples.text(words)]
    if style == 1:
        return [samples.text(words), *media]
    parts: list[samples.Part | Image | Sound] = [samples.text(rng.choice(_LEAD[language])), media[0]]
    for medium in media[1:]:
        parts += [samples.text("and" if language == "en" else "dan"), medium]
    return [*parts, samples.text(words)]
