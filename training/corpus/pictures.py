"""Small tools of the sources that make pictures: backgrounds, pasting a cut-out on them, PNG bytes.

Pictures are RGB, square, 224 to 320 pixels wide. All chance comes from the ``numpy`` generator that is passed in.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]

BACKGROUNDS = {"train": ("plain", "linear", "noise"), "test": ("plain", "radial", "cloud")}
SIZES = {"train": (224, 289), "test": (256, 321)}


def background(rng: np.random.Generator, size: int, kind: str, colour: Colour) -> Image.Image:
    """A picture of ``size`` x ``size`` pixels around ``colour``.

    ``kind``: ``plain``, ``linear`` and ``radial`` (soft gradients), ``noise`` (fine grain), ``cloud`` (soft blotches).
    """
    base = np.array(colour, dtype=np.float32)
    if kind == "plain":
        return Image.new("RGB", (size, size), colour)
    if kind in ("linear", "radial"):
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) / (size - 1)
        if kind == "linear":
            angle = rng.uniform(0, 2 * np.pi)
            ramp = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        else:
            ramp = np.hypot(x - rng.uniform(0.3, 0.7), y - rng.uniform(0.3, 0.7)) - 0.4
        values = base + ramp[..., None] * rng.uniform(-70, 70, size=3).astype(np.float32)
    elif kind == "noise":
        values = base + rng.normal(0, rng.uniform(3, 10), size=(size, size, 1)).astype(np.float32)
    elif kind == "cloud":
        grid = rng.normal(0, 22, size=(6, 6)).astype(np.float32)
        soft = np.asarray(Image.fromarray(grid, mode=None).resize((size, size), Image.Resampling.BICUBIC))
        values = base + soft[..., None]
    else:
        raise ValueError(f"kind: {kind!r} is no background; choose plain, linear, radial, noise or cloud")
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def soft_colour(rng: np.random.Generator) -> Colour:
    """A background colour: mostly light and dull, now and then dark or strong."""
    if rng.random() < 0.7:
        level = rng.uniform(150, 250)
        values = level + rng.uniform(-30, 30, size=3)
    else:
        values = rng.uniform(20, 235, size=3)
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def mean_colour(picture: Image.Image) -> NDArray[np.float32]:
    """The mean colour [3] of an RGBA picture's opaque pixels, 0 to 255."""
    pixels = np.asarray(picture.convert("RGBA"), dtype=np.float32).reshape(-1, 4)
    weight = pixels[:, 3:] / 255
    return np.asarray((pixels[:, :3] * weight).sum(0) / max(float(weight.sum()), 1.0), dtype=np.float32)


def contrasting(rng: np.random.Generator, colour: NDArray[np.float32] | Colour, *, least: float = 70.0) -> Colour:
    """A soft colour at least ``least`` away from ``colour`` in RGB (the farthest of 24 tries if none is)."""
    target = np.asarray(colour, dtype=np.float32)
    best, distance = (255, 255, 255), -1.0
    for _ in range(24):
        candidate = soft_colour(rng)
        away = float(np.linalg.norm(np.asarray(candidate, dtype=np.float32) - target))
        if away >= least:
            return candidate
        if away > distance:
            best, distance = candidate, away
    return best


def trim(picture: Image.Image) -> Image.Image:
    """An RGBA picture cut to what can be seen of it (alpha above 8)."""
    picture = picture.convert("RGBA")
    box = picture.getchannel("A").point(lambda value: 255 if value > 8 else 0).getbbox()
    return picture.crop(box) if box else picture


def compose(cutout: Image.Image, rng: np.random.Generator, split: str, *, mirror: bool = True) -> Image.Image:
    """Paste an RGBA cut-out on a soft background: varied size, place, tilt and (if ``mirror``) side."""
    size = int(rng.integers(*SIZES[split]))
    kind = str(rng.choice(BACKGROUNDS[split]))
    ground = background(rng, size, kind, contrasting(rng, mean_colour(cutout)))
    cutout = trim(cutout)
    if mirror and rng.random() < 0.4:
        cutout = ImageOps.mirror(cutout)
    scale = rng.uniform(0.55, 0.92) * size / max(cutout.size)
    cutout = cutout.resize(
        (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))), Image.Resampling.BICUBIC
    )
    if rng.random() < 0.5:
        cutout = cutout.rotate(rng.uniform(-12, 12), resample=Image.Resampling.BICUBIC, expand=True)
    left = round((size - cutout.width) * rng.uniform(0.3, 0.7))
    top = round((size - cutout.height) * rng.uniform(0.3, 0.7))
    layer = Image.new("RGBA", ground.size)
    layer.paste(cutout, (left, top))
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def png(picture: Image.Image) -> bytes:
    """PNG bytes of an RGB picture."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()
