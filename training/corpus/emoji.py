"""Source ``emoji``: emoji pictures with their names in English and Malay.

Tasks: ``emoji/name`` (open set) and ``emoji/kind`` (closed set), with one emoji in five held out; and
``emoji/common`` (closed set: the everyday things of ``words.THINGS``), learnt from one artist's pictures (Noto,
Google) and tested on another's (Twemoji), never seen in training.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.corpus import fetch, pictures, samples
from training.corpus.phrases import question
from training.corpus.registry import Context, Job, Plan
from training.corpus.words import THINGS

_GOOGLE = ("emoji-datasource-google", "16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438")
_TWITTER = ("emoji-datasource-twitter", "16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877")
_NAMES = ("cldr-annotations-full", "48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1")
#: licences of the pictures: the package of Google's says MIT, its pictures are Noto Emoji's (Apache-2.0)
_LICENCES = {"google": "MIT AND Apache-2.0", "twitter": "CC-BY-4.0"}

#: kind -> (Malay, subcategories of the emoji data)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "animal": (
        "haiwan",
        ("animal-mammal", "animal-bird", "animal-bug", "animal-marine", "animal-reptile", "animal-amphibian"),
    ),
    "plant": ("tumbuhan", ("plant-flower", "plant-other")),
    "food": ("makanan", ("food-fruit", "food-vegetable", "food-prepared", "food-asian", "food-sweet")),
    "drink": ("minuman", ("drink",)),
    "clothing": ("pakaian", ("clothing",)),
    "vehicle": ("kenderaan", ("transport-ground", "transport-water", "transport-air")),
    "building": ("bangunan", ("place-building", "place-religious")),
    "instrument": ("alat muzik", ("musical-instrument",)),
    "tool": ("alat", ("tool",)),
    "sport": ("sukan", ("sport",)),
    "face": (
        "muka",
        (
            "face-smiling", "face-affection", "face-concerned", "face-neutral-skeptical", "face-tongue",
            "face-negative",
        ),
    ),
    "flag": ("bendera", ("country-flag",)),
}  # fmt: skip
#: Stand in a subcategory of a kind but are no clear example of it.
_NO_KIND = re.compile(
    r"spider web|paw prints|feather|^wing$|pig nose|nest|seat|stop sign|traffic light|wheel$|oil drum|motorway|"
    r"railway track|fuel pump|bus stop|construction|car light|anchor|ring buoy|wedding|brick|rock$|wood$|lipstick|"
    r"^ring$|gem stone|prayer beads|hair pick|shopping bags|fan$|ice$|baby bottle|station|link|chains?$|rosette|"
    r"microbe|parachute|salt$|fossil|skateboard|rice cracker|coral$|spiral shell|white cane|pot of food|cooking"
)
_NAMED_CATEGORIES = ("Animals & Nature", "Food & Drink", "Objects", "Travel & Places", "Activities")
#: Subcategories whose things are hardly told apart, or are nothing everyday.
_UNNAMED = {"time", "award-medal", "lock", "sound", "other-object", "arts & crafts"}
_MOST_WORDS = 3
_EVERY = 5
_VARIANTS = {"train": 3, "test": 2}
_COMMON = {"train": 10, "test": 4}
_FLAGS = 40  # of 250: enough to know a flag


def plan(context: Context) -> Plan:
    """Plan the pictures; fetches the three npm packages if the cache does not hold them."""
    google = fetch.npm(_GOOGLE[0], _GOOGLE[1], context.cache, licence=_LICENCES["google"], sha256=_GOOGLE[2])
    twitter = fetch.npm(_TWITTER[0], _TWITTER[1], context.cache, licence=_LICENCES["twitter"], sha256=_TWITTER[2])
    names = fetch.npm(_NAMES[0], _NAMES[1], context.cache, licence="Unicode-3.0", sha256=_NAMES[2])
    folders = {"google": google.tree / "package/img/google/64", "twitter": twitter.tree / "package/img/twitter/64"}
    maker = _Maker(context.seed)
    _common(maker, folders)
    _named(maker, folders["google"], collect(google.tree, names.tree))
    return Plan(
        train=maker.samples["train"],
        test=maker.samples["test"],
        jobs=maker.jobs,
        provenance={
            "licence": f"google: {_LICENCES['google']}; twitter: {_LICENCES['twitter']} (copyright Twitter, Inc and "
            "other contributors, changed: scaled, put on backgrounds)",
            "packages": [package.record() for package in (google, twitter, names)],
        },
        skipped={why: count for why, count in maker.skipped.items() if count},
    )


class _Maker:
    """Collects jobs and samples; one picture and its questions per call."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.jobs: dict[str, Job] = {}
        self.samples: dict[str, list[samples.Sample]] = {"train": [], "test": []}
        self.skipped: dict[str, int] = defaultdict(int)

    def picture(
        self, split: str, artist: str, path: Path, key: str, wanted: list[tuple[str, str, str, str | None]]
    ) -> None:
        """``wanted``: (task, language, answer, label) of every question about the picture."""
        rng = random.Random(samples.seed("emoji", self.seed, split, key))
        name = f"{split}-{artist}-{key}.png"
        self.jobs[name] = Job(render=render, arguments={"path": str(path), "split": split, "seed": rng.getrandbits(63)})
        for task, language, answer, label in wanted:
            phrasing = "kind" if task == "kind" else "name"
            self.samples[split].append(
                samples.sample(
                    [
                        samples.ask(rng, question(rng, phrasing, language), samples.image(f"media/{name}")),
                        samples.answer(answer),
                    ],
                    task=f"emoji/{task}",
                    language=language,
                    source="emoji",
                    licence=_LICENCES[artist],
                    label=label,
                )
            )


def _common(maker: _Maker, folders: dict[str, Path]) -> None:
    for split, artist in (("train", "google"), ("test", "twitter")):
        for name, (malay, code) in THINGS.items():
            path = folders[artist] / f"{code.lower()}.png"
            if not path.is_file():
                maker.skipped[f"everyday things missing in {artist}'s pictures"] += 1
                continue
            for variant in range(_COMMON[split]):
                wanted: list[tuple[str, str, str, str | None]] = [("common", "en", name, name)]
                # Trained on in both languages.
                if split == "train" or variant % 4 == 1:
                    wanted.append(("common", "ms", malay, name))
                maker.picture(split, artist, path, f"common-{name}-{variant}", wanted)


def _named(maker: _Maker, folder: Path, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        path = folder / entry["image"]
        if not path.is_file():
            maker.skipped["emoji without a picture"] += 1
            continue
        for variant in range(_VARIANTS[entry["split"]]):
            wanted: list[tuple[str, str, str, str | None]] = []
            if entry["name"]:
                wanted.append(("name", "en", entry["name"], None))
                if entry["malay"] and variant == 0 and entry["number"] % 2:
                    wanted.append(("name", "ms", entry["malay"], None))
            if entry["kind"]:
                drawn = "ms" if (entry["number"] + variant) % 4 == 0 else "en"
                # Few emoji are of a kind: trained on in both languages, tested in one.
                for language in samples.LANGUAGES if entry["split"] == "train" else (drawn,):
                    word = KINDS[entry["kind"]][0] if language == "ms" else entry["kind"]
                    wanted.append(("kind", language, word, entry["kind"]))
            if wanted:
                maker.picture(entry["split"], "google", path, f"{path.stem}-{variant}", wanted)


def collect(data: Path, names: Path) -> list[dict[str, Any]]:
    """Emoji with a short name or a clear kind: number, image, name, malay, kind (or None each) and split.

    Args:
        data: unpacked ``emoji-datasource-google``.
        names: unpacked ``cldr-annotations-full``.
    """
    table = json.loads((data / "package/emoji.json").read_text(encoding="utf-8"))
    spoken = {language: _annotations(names, language) for language in ("en", "ms")}
    everyday = {code for _, code in THINGS.values()}
    entries: list[dict[str, Any]] = []
    flags = 0
    for emoji in sorted(table, key=lambda item: item["sort_order"]):
        category, subcategory = emoji["category"], emoji["subcategory"]
        text = "".join(chr(int(code, 16)) for code in emoji["unified"].split("-"))
        full = _name(spoken["en"], text)
        kind = next((kind for kind, (_, places) in KINDS.items() if subcategory in places), None)
        if kind == "flag":
            flags += 1
            kind = kind if flags % 6 == 0 and flags <= 6 * _FLAGS else None
        elif kind and full and _NO_KIND.search(full):
            kind = None
        common = emoji["unified"] in everyday  # has its everyday name already: one picture, one name
        named = category in _NAMED_CATEGORIES and subcategory not in _UNNAMED and not common
        name = short_name(full, "en") if named else None
        if name is None and kind is None:
            continue
        malay = short_name(_name(spoken["ms"], text), "ms") if name else None
        entries.append(
            {
                "number": len(entries),
                "image": emoji["image"],
                "name": name,
                "malay": malay,
                "kind": kind,
                "group": kind or subcategory,
                "split": "train",
                "everyday": common,
            }
        )
    _hold_out(entries)
    return entries


def _hold_out(entries: list[dict[str, Any]]) -> None:
    """Every fifth emoji of each group goes to the test; an everyday thing, already shown in training, never."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        if not entry["everyday"]:
            groups[entry["group"]].append(entry)
    for members in groups.values():
        members.sort(key=lambda entry: samples.seed("emoji", entry["image"]))
        for entry in members[_EVERY // 2 :: _EVERY]:
            entry["split"] = "test"


def _annotations(tree: Path, language: str) -> dict[str, Any]:
    path = tree / "package/annotations" / language / "annotations.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["annotations"]["annotations"])


def _name(table: dict[str, Any], text: str) -> str | None:
    entry = table.get(text) or table.get(text.replace("\ufe0f", ""))
    return str(entry["tts"][0]) if entry and entry.get("tts") else None


def short_name(name: str | None, language: str) -> str | None:
    """'dog face' -> 'dog', 'red apple' stays; None for long names."""
    if not name:
        return None
    name = name.lower().replace("’", "'")
    short = re.sub(r" face$", "", name) if language == "en" else re.sub(r"^muka ", "", name)
    return short if 1 <= len(short.split()) <= _MOST_WORDS else None


def render(*, path: str, split: str, seed: int) -> bytes:
    """Put the emoji in file ``path`` on a background; gives PNG bytes."""
    picture = Image.open(path).convert("RGBA")
    return pictures.png(pictures.compose(picture, np.random.default_rng(seed), split))
