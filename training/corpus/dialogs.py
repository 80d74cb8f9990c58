"""Source ``dialogs``: questions about several media at once, and over several turns, composed from the other sources.

Tasks: ``dialogs/which-picture``, ``which-colour`` (which of two), ``sound-matches``, ``word-matches`` (yes or no,
balanced), ``both`` (name a picture and a word) and ``turns`` (every turn about another medium, or about one given
before). Training dialogs use training media only, test dialogs test media only.

Media are not copied: the paths lead to the other sources (``../scenes/media/...``), so each is encoded once. There is
no ``meta.label``: a linear probe over one medium says nothing about a question that needs two.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from training.corpus import samples
from training.corpus.phrases import question
from training.corpus.registry import Context, Plan
from training.corpus.scenes import COLOURS, SHAPES
from training.corpus.words import THINGS

_COUNTS = {
    "which-picture": (1100, 200),
    "which-colour": (600, 160),
    "sound-matches": (500, 160),
    "word-matches": (700, 200),
    "both": (600, 160),
    "turns": (900, 200),
}
_MALAY_SHARE = 0.25
_WITHOUT_ARTICLE = {"grapes", "scissors", "bread", "corn"}
_WHICH = {"en": ("the first", "the second"), "ms": ("yang pertama", "yang kedua")}
_YES_NO = {"en": ("yes", "no"), "ms": ("ya", "tidak")}
_LEAD = {
    "en": ("Here is one:", "Take this:", "First:", "Now this one:"),
    "ms": ("Ini satu:", "Ambil ini:", "Mula-mula:", "Sekarang ini:"),
}
_LATER = {
    "picture": {"en": "And what is in the picture?", "ms": "Dan apakah yang ada dalam gambar itu?"},
    "word": {"en": "And what was said?", "ms": "Dan apakah yang disebut tadi?"},
}


@dataclass(frozen=True, kw_only=True)
class _Medium:
    """A medium of another source with what is known of it, per language."""

    url: str
    licence: str
    names: dict[str, str]


@dataclass(kw_only=True)
class _Pool:
    """The media of one split by what they can be asked for; the keys are English."""

    things: dict[str, list[_Medium]] = field(default_factory=lambda: defaultdict(list))
    everyday: dict[str, list[_Medium]] = field(default_factory=lambda: defaultdict(list))
    colours: dict[str, list[_Medium]] = field(default_factory=lambda: defaultdict(list))
    shapes: dict[str, list[_Medium]] = field(default_factory=lambda: defaultdict(list))
    sounds: dict[str, list[_Medium]] = field(default_factory=lambda: defaultdict(list))
    words: dict[str, dict[str, list[_Medium]]] = field(
        default_factory=lambda: {language: defaultdict(list) for language in samples.LANGUAGES}
    )
    digits: dict[str, dict[str, list[_Medium]]] = field(
        default_factory=lambda: {language: defaultdict(list) for language in samples.LANGUAGES}
    )


def plan(context: Context) -> Plan:
    """Compose the dialogs from the sources that are already in the output folder; what they lack is skipped."""
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    skipped: dict[str, int] = defaultdict(int)
    licences: set[str] = set()
    for place, split in enumerate(splits):
        pool = _gather(context, split)
        for task, counts in _COUNTS.items():
            rng = random.Random(samples.seed("dialogs", context.seed, split, task))
            for index in range(counts[place]):
                language = "ms" if rng.random() < _MALAY_SHARE else "en"
                try:
                    dialog = _KINDS[task](rng, pool, language, index)
                except (LookupError, ValueError):  # nothing to choose from: a source is missing or tiny
                    skipped[f"dialogs/{task} for lack of media"] += 1
                    continue
                used = sorted({medium.licence for medium in dialog.media})
                licences.update(used)
                splits[split].append(
                    samples.sample(
                        dialog.messages,
                        task=f"dialogs/{task}",
                        language=language,
                        source="dialogs",
                        licence=" AND ".join(used),
                    )
                )
    provenance = {
        "licence": " AND ".join(sorted(licences)),
        "origin": "composed by training/corpus/dialogs.py; see source.json of the source each medium lies in",
        "packages": [],
    }
    return Plan(train=splits["train"], test=splits["test"], provenance=provenance, skipped=dict(skipped))


@dataclass(kw_only=True)
class _Dialog:
    messages: list[dict[str, object]] = field(default_factory=list)
    media: list[_Medium] = field(default_factory=list)

    def turn(self, parts: list[samples.Part | _Image | _Sound], reply: str) -> _Dialog:
        """Add a user message and its answer; media are noted on the way."""
        content: list[samples.Part] = []
        for part in parts:
            if isinstance(part, _Image | _Sound):
                self.media.append(part.medium)
                make = samples.image if isinstance(part, _Image) else samples.audio
                content.append(make(part.medium.url))
            else:
                content.append(part)
        self.messages += [samples.user(*content), samples.answer(reply)]
        return self


@dataclass(frozen=True)
class _Image:
    medium: _Medium


@dataclass(frozen=True)
class _Sound:
    medium: _Medium


def _gather(context: Context, split: str) -> _Pool:
    pool = _Pool()
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
            table[language][answer].append(_Medium(url=url, licence=licence, names={language: answer}))
        if language != "en":
            continue
        if task == "scenes/colour":
            pool.colours[label].append(_Medium(url=url, licence=licence, names={"en": label, "ms": COLOURS[label][0]}))
        elif task == "scenes/shape":
            pool.shapes[label].append(_Medium(url=url, licence=licence, names={"en": label, "ms": SHAPES[label]}))
        elif task == "emoji/common":
            medium = _Medium(url=url, licence=licence, names={"en": label, "ms": THINGS[label][0]})
            pool.everyday[label].append(medium)
            pool.things[label].append(medium)
        elif task == "stamps/name" and len(answer.split()) <= 2:
            pool.things[answer].append(_Medium(url=url, licence=licence, names=named[url]))
        elif task == "sounds/name":
            pool.sounds[answer].append(_Medium(url=url, licence=licence, names=named[url]))
    return pool


def _two(rng: random.Random, table: dict[str, list[_Medium]], language: str) -> tuple[_Medium, _Medium]:
    """Media of two different keys that both have a name in ``language``."""
    keys = [key for key in table if any(language in medium.names for medium in table[key])]
    first, second = (
        rng.choice([medium for medium in table[key] if language in medium.names]) for key in rng.sample(sorted(keys), 2)
    )
    return first, second


def _one(rng: random.Random, table: dict[str, list[_Medium]]) -> _Medium:
    return rng.choice(table[rng.choice(sorted(table))])


def _phrase(name: str, language: str) -> str:
    """'dog' -> 'a dog'; Malay has no article."""
    if language == "ms" or name in _WITHOUT_ARTICLE or name.endswith("s"):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _arrange(
    rng: random.Random, media: list[_Image | _Sound], words: str, language: str
) -> list[samples.Part | _Image | _Sound]:
    """Media before the question, after it, or with text between them."""
    style = rng.randrange(3)
    if style == 0:
        return [*media, samples.text(words)]
    if style == 1:
        return [samples.text(words), *media]
    parts: list[samples.Part | _Image | _Sound] = [samples.text(rng.choice(_LEAD[language])), media[0]]
    for medium in media[1:]:
        parts += [samples.text("and" if language == "en" else "dan"), medium]
    return [*parts, samples.text(words)]


def _which(rng: random.Random, table: dict[str, list[_Medium]], task: str, language: str, index: int) -> _Dialog:
    pair = _two(rng, table, language)
    right = index % 2
    name = pair[right].names[language]
    words = question(rng, task, language, name if task == "which-colour" else _phrase(name, language))
    return _Dialog().turn(_arrange(rng, [_Image(medium) for medium in pair], words, language), _WHICH[language][right])


def _which_picture(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    table = pool.things if rng.random() < 0.4 else pool.everyday
    if rng.random() < 0.2:
        table = pool.shapes
    return _which(rng, table, "which-picture", language, index)


def _which_colour(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    return _which(rng, pool.colours, "which-colour", language, index)


def _yes_no(rng: random.Random, picture: _Medium, sound: _Medium, task: str, language: str, match: bool) -> _Dialog:
    media: list[_Image | _Sound] = [_Image(picture), _Sound(sound)]
    if rng.random() < 0.5:
        media.reverse()
    reply = _YES_NO[language][0 if match else 1]
    return _Dialog().turn(_arrange(rng, media, question(rng, task, language), language), reply)


def _sound_matches(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    names = sorted(name for name in pool.sounds if name in pool.things)
    heard, other = rng.sample(names, 2)
    seen = heard if index % 2 == 0 else other
    return _yes_no(
        rng, rng.choice(pool.things[seen]), rng.choice(pool.sounds[heard]), "sound-matches", language, index % 2 == 0
    )


def _word_matches(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    spoken = pool.words[language]
    word = {name: THINGS[name][0] if language == "ms" else name for name in pool.everyday}
    seen, other = rng.sample(sorted(name for name in word if word[name] in spoken), 2)
    heard = seen if index % 2 == 0 else other
    sound = rng.choice(spoken[word[heard]])
    return _yes_no(rng, rng.choice(pool.everyday[seen]), sound, "word-matches", language, index % 2 == 0)


def _both(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    picture = _one(rng, pool.everyday)
    sound = _one(rng, pool.digits[language] if index % 2 else pool.words[language])
    media: list[_Image | _Sound] = [_Image(picture), _Sound(sound)]
    if rng.random() < 0.5:
        media.reverse()
    join = " and " if language == "en" else " dan "
    reply = picture.names[language] + join + sound.names[language]
    return _Dialog().turn(_arrange(rng, media, question(rng, "both", language), language), reply)


def _turns(rng: random.Random, pool: _Pool, language: str, index: int) -> _Dialog:
    """Two to four turns. One dialog in three gives a picture and a sound at once and asks for one turn by turn."""
    dialog = _Dialog()
    if index % 3 == 0:
        picture, sound = _one(rng, pool.everyday), _one(rng, pool.digits[language])
        asked = [("picture", picture, "name"), ("word", sound, "digits")]
        if rng.random() < 0.5:
            asked.reverse()
        words = question(rng, asked[0][2], language)
        media: list[_Image | _Sound] = [_Image(picture), _Sound(sound)]
        dialog.turn(_arrange(rng, media, words, language), asked[0][1].names[language])
        later, medium, _ = asked[1]
        return dialog.turn([samples.text(_LATER[later][language])], medium.names[language])
    steps = ["scenes/colour", "scenes/shape", "name", "digits", "words"]
    for step in rng.sample(steps, 2 + index % 3):
        medium = _one(
            rng,
            {
                "scenes/colour": pool.colours,
                "scenes/shape": pool.shapes,
                "name": pool.everyday,
                "digits": pool.digits[language],
                "words": pool.words[language],
            }[step],
        )
        part = _Sound(medium) if step in ("digits", "words") else _Image(medium)
        dialog.turn(_arrange(rng, [part], question(rng, step, language), language), medium.names[language])
    return dialog


_KINDS: dict[str, Callable[[random.Random, _Pool, str, int], _Dialog]] = {
    "which-picture": _which_picture,
    "which-colour": _which_colour,
    "sound-matches": _sound_matches,
    "word-matches": _word_matches,
    "both": _both,
    "turns": _turns,
}
