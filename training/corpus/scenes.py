"""Source ``scenes``: drawn pictures of one object, or of one to five equal ones, with exactly known attributes.

Tasks: ``scenes/shape``, ``scenes/colour``, ``scenes/position``, ``scenes/count`` (closed sets) and
``scenes/describe`` (a short phrase). The test split has its own seeds, backgrounds, picture and object sizes.
"""

from __future__ import annotations

import colorsys
import math
import random
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from training.corpus import pictures, samples
from training.corpus.phrases import question
from training.corpus.registry import Context, Job, Plan

#: shape -> its Malay name
SHAPES = {
    "circle": "bulatan",
    "square": "segi empat",
    "triangle": "segi tiga",
    "star": "bintang",
    "heart": "hati",
    "cross": "palang",
}
#: colour -> (its Malay name, RGB)
COLOURS: dict[str, tuple[str, pictures.Colour]] = {
    "red": ("merah", (214, 32, 32)),
    "green": ("hijau", (38, 160, 56)),
    "blue": ("biru", (36, 72, 208)),
    "yellow": ("kuning", (242, 214, 28)),
    "orange": ("jingga", (244, 132, 20)),
    "purple": ("ungu", (132, 44, 172)),
    "black": ("hitam", (22, 22, 24)),
    "white": ("putih", (250, 250, 250)),
}
#: place -> (Malay, English and Malay phrase, centre x and y as shares of the picture)
POSITIONS = {
    "left": ("kiri", "on the left", "di kiri", (0.24, 0.5)),
    "right": ("kanan", "on the right", "di kanan", (0.76, 0.5)),
    "top": ("atas", "at the top", "di atas", (0.5, 0.24)),
    "bottom": ("bawah", "at the bottom", "di bawah", (0.5, 0.76)),
    "centre": ("tengah", "in the centre", "di tengah", (0.5, 0.5)),
}
NUMBERS = {1: ("one", "satu"), 2: ("two", "dua"), 3: ("three", "tiga"), 4: ("four", "empat"), 5: ("five", "lima")}

_RADIUS = {"train": (0.11, 0.17), "test": (0.12, 0.16)}  # of a placed object, as a share of the picture's width
_LARGE = {"train": (0.18, 0.38), "test": (0.20, 0.34)}  # of an object shown alone
_SMALL = {"train": (0.075, 0.115), "test": (0.08, 0.11)}  # of one among several
_PICTURES = {"train": (1200, 1000, 1100), "test": (150, 150, 200)}  # large, placed, counted
_LICENCE = "CC0-1.0"
_OVERSAMPLE = 3


def plan(context: Context) -> Plan:
    """Plan all scenes; needs nothing but Pillow and numpy."""
    jobs: dict[str, Job] = {}
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    for split, counts in _PICTURES.items():
        for family, count in zip(("large", "placed", "counted"), counts, strict=True):
            for index in range(count):
                rng = random.Random(samples.seed("scenes", context.seed, split, family, index))
                scene = _scene(rng, split, family, index)
                name = f"{split}-{family}-{index:05d}.png"
                jobs[name] = Job(render=render, arguments=scene)
                splits[split] += _questions(rng, scene, f"media/{name}")
    provenance = {"licence": _LICENCE, "origin": "drawn by training/corpus/scenes.py", "packages": []}
    return Plan(train=splits["train"], test=splits["test"], jobs=jobs, provenance=provenance)


def _scene(rng: random.Random, split: str, family: str, index: int) -> dict[str, Any]:
    """The arguments of ``render``: classes go round in turn, so that every class is equally frequent."""
    shape = list(SHAPES)[index % len(SHAPES)]
    colour = list(COLOURS)[(index // len(SHAPES) + index) % len(COLOURS)]
    position = list(POSITIONS)[index % len(POSITIONS)] if family == "placed" else None
    count = 1 + index % len(NUMBERS) if family == "counted" else 1
    if family == "placed":
        shape = rng.choice(list(SHAPES))
    low, high = {"large": _LARGE, "placed": _RADIUS, "counted": _SMALL}[family][split]
    radius = rng.uniform(low, high)
    if position is not None:
        x, y = POSITIONS[position][3]
        centres = [(x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.06, 0.06))]
    elif family == "large":
        room = max(0.02, 0.46 - radius)
        centres = [(0.5 + rng.uniform(-room, room) * 0.8, 0.5 + rng.uniform(-room, room) * 0.8)]
    else:
        centres = _apart(rng, count, radius)
    return {
        "seed": rng.getrandbits(63),
        "split": split,
        "family": family,
        "shape": shape,
        "colour": colour,
        "position": position,
        "count": count,
        "radius": radius,
        "centres": centres,
    }


def _apart(rng: random.Random, count: int, radius: float) -> list[tuple[float, float]]:
    """Centres of ``count`` objects that do not touch, in the part of the picture that a centre crop keeps."""
    centres: list[tuple[float, float]] = []
    tries = 0
    while len(centres) < count:
        tries += 1
        if tries > 400:
            centres, tries = [], 0
        spot = (rng.uniform(0.09 + radius, 0.91 - radius), rng.uniform(0.09 + radius, 0.91 - radius))
        if all(math.dist(spot, other) > 2.5 * radius for other in centres):
            centres.append(spot)
    return centres


def _questions(rng: random.Random, scene: dict[str, Any], url: str) -> list[samples.Sample]:
    """The samples of one picture: its main attributes in English, one or two of them in Malay as well."""
    shape, colour, position, count = scene["shape"], scene["colour"], scene["position"], scene["count"]
    facts = {
        "shape": (shape, shape, SHAPES[shape]),
        "colour": (colour, colour, COLOURS[colour][0]),
        "describe": (None, *describe(shape, colour, position, count)),
    }
    if position is not None:
        facts["position"] = (position, position, POSITIONS[position][0])
    if scene["family"] == "counted":
        facts = {"count": (NUMBERS[count][0], *NUMBERS[count]), "describe": facts["describe"]}
    if scene["split"] == "test":
        wanted = {"large": ["shape", "colour"], "placed": ["position", "describe"], "counted": ["count"]}
        chosen = [(task, language) for task in wanted[scene["family"]] for language in ("en", "ms")]
        chosen = [pair for pair in chosen if pair[1] == "en" or rng.random() < 0.34]
    else:
        tasks = list(facts)
        if rng.random() < 0.45:
            tasks.remove("describe")
        chosen = [(task, "en") for task in tasks] + [(task, "ms") for task in rng.sample(tasks, 1)]
    made = []
    for task, language in chosen:
        label, english, malay = facts[task]
        key = "scenes/describe" if task == "describe" else f"scenes/{task}"
        made.append(
            samples.sample(
                [
                    samples.ask(rng, question(rng, key, language), samples.image(url)),
                    samples.answer(english if language == "en" else malay),
                ],
                task=key,
                language=language,
                source="scenes",
                licence=_LICENCE,
                label=label,
            )
        )
    return made


def describe(shape: str, colour: str, position: str | None, count: int) -> tuple[str, str]:
    """The phrase for a scene in English and Malay: 'a red circle on the left', 'bulatan merah di kiri'."""
    malay = f"{SHAPES[shape]} {COLOURS[colour][0]}"
    if count > 1:
        plural = f"{shape}es" if shape == "cross" else f"{shape}s"
        return f"{NUMBERS[count][0]} {colour} {plural}", f"{NUMBERS[count][1]} {malay}"
    english = f"{'an' if colour == 'orange' else 'a'} {colour} {shape}"
    if position is None:
        return english, malay
    return f"{english} {POSITIONS[position][1]}", f"{malay} {POSITIONS[position][2]}"


def outline(shape: str) -> list[tuple[float, float]]:
    """Corner points of a shape inside the unit circle (y downwards); the circle has 72 of them."""
    if shape == "circle":
        return [(math.cos(turn), math.sin(turn)) for turn in np.linspace(0, 2 * math.pi, 72, endpoint=False)]
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "triangle":
        return [(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)]
    if shape == "star":
        spikes = [(1.0 if corner % 2 == 0 else 0.42, math.pi * corner / 5) for corner in range(10)]
        return [(length * math.sin(turn), -length * math.cos(turn)) for length, turn in spikes]
    if shape == "heart":
        turns = np.linspace(0, 2 * math.pi, 64, endpoint=False)
        return [
            (
                math.sin(turn) ** 3,
                -(13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)) / 16,
            )
            for turn in turns
        ]
    if shape == "cross":
        a, b = 0.34, 0.98
        arm = [(a, -b), (a, -a), (b, -a)]  # the corners of one quarter, turned four times
        return [corner for turn in range(4) for corner in ((_turned(x, y, turn)) for x, y in arm)]
    raise ValueError(f"shape: {shape!r} is unknown; choose from {', '.join(SHAPES)}")


def _turned(x: float, y: float, quarters: int) -> tuple[float, float]:
    for _ in range(quarters):
        x, y = -y, x
    return x, y


def render(
    *,
    seed: int,
    split: str,
    family: str,
    shape: str,
    colour: str,
    position: str | None,
    count: int,
    radius: float,
    centres: list[tuple[float, float]],
) -> bytes:
    """Draw a scene; gives PNG bytes. ``radius`` and ``centres`` are shares of the picture's width."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(*pictures.SIZES[split]))
    fill = _jitter(rng, COLOURS[colour][1])
    ground = pictures.contrasting(rng, fill, least=150.0)
    picture = pictures.background(rng, size, str(rng.choice(pictures.BACKGROUNDS[split])), ground)
    wide = size * _OVERSAMPLE
    mask = Image.new("L", (wide, wide))
    draw = ImageDraw.Draw(mask)
    for x, y in centres:
        turn = math.radians(rng.uniform(-14, 14))
        points = [
            (
                (x + radius * (px * math.cos(turn) - py * math.sin(turn))) * wide,
                (y + radius * (px * math.sin(turn) + py * math.cos(turn))) * wide,
            )
            for px, py in outline(shape)
        ]
        draw.polygon(points, fill=255)
    mask = mask.resize((size, size), Image.Resampling.LANCZOS)
    picture.paste(fill, (0, 0, size, size), mask)
    return pictures.png(picture)


def _jitter(rng: np.random.Generator, colour: pictures.Colour) -> pictures.Colour:
    """The colour in another light: a few degrees of hue, somewhat lighter or darker; its name stays true."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    hue = (hue + rng.uniform(-0.012, 0.012)) % 1
    saturation = min(1.0, saturation * rng.uniform(0.88, 1.08))
    value = min(1.0, value * rng.uniform(0.9, 1.08) + (rng.uniform(0, 0.04) if value < 0.2 else 0.0))
    red, green, blue = (round(channel * 255) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
