"""How large an encoder sees a picture: all that a decoder needs to hand over of a larger one.

Resizing takes as long as decoding, and the resized picture is a hundredth of a photograph. Whoever decodes for one
encoder may therefore resize at once: the encoder resizes what it is given, and a picture that has its size already
stays as it is, so it sees the same pixels. No torch here: decoding processes import this.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

ROUNDING: dict[str, Callable[[float], int]] = {"down": math.floor, "nearest": round}


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The size of pictures after an encoder has resized them, before it crops."""

    size: int
    """Of the shorter side, pixels."""
    rounding: str = "nearest"
    """Of the longer side: a key of `ROUNDING`."""
    square: bool = False
    """Both sides become `size`, whatever the picture's shape."""

    def of(self, picture: Image.Image) -> Image.Image:
        """The resized picture (bicubic); one that has been resized so already is copied."""
        if self.square:
            return picture.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return resize_short_side(picture, self.size, ROUNDING[self.rounding])


def shrink(picture: Image.Image, sight: Sight | None) -> Image.Image:
    """The picture as `sight` sees it, if that is much smaller; otherwise itself."""
    return picture if sight is None or min(picture.size) < 2 * sight.size else sight.of(picture)


def resize_short_side(image: Image.Image, size: int, rounding: Callable[[float], int] = round) -> Image.Image:
    """Bicubic resize so that the shorter side is `size` pixels and the longer one is what `rounding` makes of it."""
    width, height = image.size
    # A 1x5000 strip must not become 224x1120000: crop the long side first to what can survive the centre crop.
    if max(width, height) > 8 * min(width, height):
        image = centre_crop(image, 8 * min(width, height))
        width, height = image.size
    short = min(width, height)
    target = (rounding(width * size / short), rounding(height * size / short))
    return image.resize(target, Image.Resampling.BICUBIC)


def centre_crop(image: Image.Image, size: int, rounding: Callable[[float], int] = math.floor) -> Image.Image:
    """Cut the central square of `size` pixels, its corner where `rounding` puts it; a shorter side is left as it is."""
    width, height = image.size
    cut_width, cut_height = min(size, width), min(size, height)
    left, top = rounding((width - cut_width) / 2), rounding((height - cut_height) / 2)
    return image.crop((left, top, left + cut_width, top + cut_height))
