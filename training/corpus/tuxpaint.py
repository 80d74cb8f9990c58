"""The Debian package ``tuxpaint-stamps-default``: stamps with captions in many languages and sound effects.

``collect(tree)`` reads the unpacked package into a list of ``Stamp``; pictures and sounds are left where they are.
The sources ``stamps`` and ``sounds`` share it, and with it the split: a stamp's picture and its sound are always on
the same side.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.corpus import fetch, samples

PACKAGE = "tuxpaint-stamps-default"
LICENCE = "GPL-2.0-only"
_ROOT = "usr/share/tuxpaint/stamps"
_EVERY = 5  # one stamp in so many of each folder is held out for the test

#: kind -> (Malay, the folders whose stamps are of that kind)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mammal": ("mamalia", ("animals/mammals", "animals/marsupials")),
    "bird": ("burung", ("animals/birds",)),
    "insect": ("serangga", ("animals/insects",)),
    "fish": ("ikan", ("animals/fish",)),
    "fruit": ("buah", ("food/fruit",)),
    "vegetable": ("sayur", ("food/vegetables",)),
    "plant": ("tumbuhan", ("plants/flowers", "plants/trees", "plants")),
    "vehicle": ("kenderaan", ("vehicles",)),
    "building": ("bangunan", ("town/houses",)),
    "clothing": ("pakaian", ("clothes",)),
    "instrument": ("alat muzik", ("hobbies/music",)),
    "household item": ("barangan rumah", ("household",)),
}
#: Lie in a folder of a kind but are no clear example of it.
_NO_KIND = re.compile(
    r"spider|snail|slug|woodlouse|wings|shrimp|lobster|seahorse|mushroom|cep|toadstool|pinecone|wheel|tyre|trainSign|"
    r"sedan_police|clothespin|clotheshanger|button|hair|cave_entrance|city$|knitting|walnut|helmet|teddy|tux|pengwin|"
    r"penguin_with"
)
#: Left out: letters, digits, signs and coins (to be read, not seen) and pictures whose caption is a joke or a rule.
_EXCLUDED = ("symbols", "town/roadsigns", "seasonal/hanukkah", "sports/cartoon/football_helmet", "military/ammunition")
_WRONG_MALAY = {
    "drake",
    "ram",
    "birch",
    "blue_fedora",
    "1_mercury",
    "helmeted_guineafowl",
    "zebu",
    "chilepepper",
    "cello",
}
_MALAY_COUNTERS = re.compile(
    r"^(seekor|sebuah|sebiji|sepasang|seorang|sebatang|selabu|segugus|sepotong|sejambak|seikat) "
)
_NO_NAME = re.compile(r"^(eat|makan|say|enter|masuk|down|dibawah|tankers|boom|another|lain-lain|tux)\b")
_MOST_WORDS = 4


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """One stamp: its stem (relative, e.g. ``animals/birds/owl``), files, names and split.

    ``name`` and ``malay`` are short lower-case names made of the captions, or None where there is no short one;
    ``kind`` is a key of ``KINDS`` or None.
    """

    stem: str
    picture: Path | None
    sound: Path | None
    name: str | None
    malay: str | None
    kind: str | None
    split: str


def package(cache: Path) -> fetch.Package:
    """The unpacked Debian package."""
    return fetch.debian(PACKAGE, cache, licence=LICENCE)


def collect(tree: Path) -> list[Stamp]:
    """All usable stamps under an unpacked package ``tree``, sorted by stem. Raises RuntimeError if there are none."""
    root = tree / _ROOT
    found: list[tuple[str, Path | None, Path | None, str | None, str | None, str | None]] = []
    for caption in sorted(root.rglob("*.txt")):
        stem = caption.relative_to(root).with_suffix("").as_posix()
        if stem.startswith(_EXCLUDED) or "_desc" in caption.name:
            continue
        picture = next((path for suffix in (".png", ".svg") if (path := caption.with_suffix(suffix)).is_file()), None)
        sound = path if (path := caption.with_suffix(".ogg")).is_file() else None
        english, malay = captions(caption.read_text(encoding="utf-8", errors="replace"))
        if caption.stem in _WRONG_MALAY:
            malay = None
        found.append((stem, picture, sound, english, malay, kind_of(stem)))
    if not found:
        raise RuntimeError(f"no stamps under {root}; remove {tree.parent} and build again to fetch the package anew")
    splits = _splits(found)
    return [
        Stamp(stem=stem, picture=picture, sound=sound, name=name, malay=malay, kind=kind, split=splits[stem])
        for stem, picture, sound, name, malay, kind in found
    ]


def kind_of(stem: str) -> str | None:
    """The kind of a stamp by its folder, None where the folder or the stamp itself is no clear example."""
    if _NO_KIND.search(stem.rsplit("/", 1)[-1]):
        return None
    for kind, (_, folders) in KINDS.items():
        if stem.startswith(tuple(f"{folder}/" for folder in folders)):
            return kind
    return None


def captions(text: str) -> tuple[str | None, str | None]:
    """Short English and Malay names from a caption file; None where a caption is missing or no short name."""
    lines = text.splitlines()
    english = short_name(lines[0]) if lines else None
    malay = next((line.removeprefix("ms.utf8=") for line in lines[1:] if line.startswith("ms.utf8=")), "")
    name = short_name(malay)
    return english, _MALAY_COUNTERS.sub("", name) if name else None


def short_name(caption: str) -> str | None:
    """'A bear.' -> 'bear'; 'A camera.  Say Cheese!' -> 'camera'; None for sentences and quotations."""
    first = re.split(r"(?<=[.!?])\s", caption.strip())[0]
    first = re.sub(r"\s*\([^)]*\)", "", first).strip(" .!?")
    if not first or re.search(r"[“”\"—–:;,?]| is | are | means | and ", first) or _NO_NAME.match(first.lower()):
        return None
    name = re.sub(
        r"^(a pair of|a head of|a bunch of|a couple of|a|an|the|some|our|two)\s+", "", first.lower().replace("’", "'")
    )
    return name if 1 <= len(name.split()) <= _MOST_WORDS else None


def _splits(
    found: Iterable[tuple[str, Path | None, Path | None, str | None, str | None, str | None]],
) -> dict[str, str]:
    """The split of each stem: stamps that share a picture or a sound stay together; each folder gives its part."""
    groups: dict[str, str] = {}  # content digest -> leading stem
    leader: dict[str, str] = {}
    strata: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for stem, picture, sound, _, _, kind in found:
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (picture, sound) if path]
        lead = next((groups[digest] for digest in digests if digest in groups), stem)
        for digest in digests:
            groups.setdefault(digest, lead)
        leader[stem] = lead
        if lead == stem:
            strata[(kind or stem.split("/", 1)[0], sound is not None)].append(stem)
    held_out: set[str] = set()
    for members in strata.values():
        members.sort(key=lambda stem: samples.seed("stamp", stem))
        held_out.update(members[_EVERY // 2 :: _EVERY])
    return {stem: "test" if lead in held_out else "train" for stem, lead in leader.items()}
