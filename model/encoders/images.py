"""Picture preprocessing shared by the image encoders: resize, crop, scale, normalise."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


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


def to_tensor(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB picture -> float32 `[3, height, width]`, `(pixel - mean) / std` with pixels, mean and std on 0..255."""
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)
    centre = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1)
    spread = torch.tensor(std, dtype=torch.float32).view(3, 1, 1)
    return ((pixels - centre) / spread).contiguous()
