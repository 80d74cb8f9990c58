"""A tiny package tree in the cache, in the layout of the real ones, so that no test needs the network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from training.corpus import emoji, tuxpaint
from training.corpus.words import THINGS

ANIMALS = ("owl", "crow", "duck", "hen", "lark", "swan", "kiwi", "wren", "gull", "finch")


def drawing(path: Path, hue: int, size: int = 64) -> None:
    """A picture that differs from every other one with another ``hue``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGBA", (size, size))
    colour = ((hue * 53) % 256, (hue * 97) % 256, (hue * 29) % 256, 255)
    ImageDraw.Draw(picture).ellipse((4 + hue % 9, 4, size - 4, size - 4 - hue % 7), fill=colour)
    picture.save(path)


def tone(path: Path, pitch: float, seconds: float = 0.4) -> None:
    """A beating tone of ``pitch`` Hz as OGG."""
    time = np.arange(int(22050 * seconds)) / 22050
    wave = 0.4 * np.sin(2 * np.pi * pitch * time) * (0.6 + 0.4 * np.sin(2 * np.pi * pitch / 90 * time))
    soundfile.write(path, wave, 22050, format="OGG")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package cache that holds all four packages, unpacked by hand."""
    cache = tmp_path_factory.mktemp("cache")
    stamps = cache / "debian" / tuxpaint.PACKAGE / "tree/usr/share/tuxpaint/stamps"
    for place, name in enumerate(ANIMALS):
        for folder, offset in (("animals/birds", 0), ("animals/mammals", 20)):
            stem = stamps / folder / f"{name}{offset}"
            drawing(stem.with_suffix(".png"), place + offset)
            tone(stem.with_suffix(".ogg"), 200 + 40 * (place + offset), 0.3 + 0.05 * place)
            article = "An" if name[0] == "o" else "A"
            stem.with_suffix(".txt").write_text(f"{article} {name} {offset}.\nms.utf8=Seekor {name}ms.\n")
    silent = stamps / "animals/birds/mute"
    drawing(silent.with_suffix(".png"), 90)
    soundfile.write(silent.with_suffix(".ogg"), np.zeros(8000), 22050, format="OGG")
    silent.with_suffix(".txt").write_text("A mute swan that, for once, says nothing at all.\n")

    codes = [code for _, code in THINGS.values()]
    extra = [f"1FA{number:02X}" for number in range(12)]
    table = []
    for place, code in enumerate([*codes, *extra]):
        animal = place % 2 == 0
        image = f"{code.lower()}.png"
        table.append(
            {
                "unified": code,
                "image": image,
                "sort_order": place,
                "category": "Animals & Nature" if animal else "Food & Drink",
                "subcategory": "animal-mammal" if animal else "food-fruit",
            }
        )
        for shade, (package, artist) in enumerate(((emoji._GOOGLE, "google"), (emoji._TWITTER, "twitter"))):
            drawing(
                cache / f"npm/{package[0]}@{package[1]}/tree/package/img/{artist}/64/{image}", 2 * place + shade, 32
            )
    google = cache / f"npm/{emoji._GOOGLE[0]}@{emoji._GOOGLE[1]}/tree/package/emoji.json"
    google.write_text(json.dumps(table))
    for language in ("en", "ms"):
        names = {
            "".join(chr(int(part, 16)) for part in row["unified"].split("-")): {"tts": [f"{language} {place}"]}
            for place, row in enumerate(table)
        }
        path = cache / f"npm/{emoji._NAMES[0]}@{emoji._NAMES[1]}/tree/package/annotations/{language}/annotations.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"annotations": {"annotations": names}}))
    return cache
