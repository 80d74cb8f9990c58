"""Changes of decoded media that make few samples go further, by name.

    augmentation("image", ["crop", "mirror"])(picture, random.Random(0)) -> another picture

Whoever uses one encodes each medium whenever it is seen (`training.cache.OnTheFly`): a cache holds one version of it.
None of them may change what is asked about: mirror no writing, crop nothing whose place matters.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from model.errors import ConfigurationError
from model.fields import check_choice
from model.media import Sound
from training.cache import Augmentation

# Share of the area, and ratio of the sides, that a crop keeps: the ratio of Szegedy et al. 2015 (section 6), an area
# from half upwards because captions tell of the whole picture.
AREA, RATIO = (0.5, 1.0), (3 / 4, 4 / 3)
# Louder or softer by at most so many decibels.
GAIN = 6.0
# Decibels between a sound and the white noise laid under it.
NOISE = (15.0, 40.0)


def mirror(picture: Image.Image, generator: random.Random) -> Image.Image:
    """Left and right exchanged, every other time."""
    return ImageOps.mirror(picture) if generator.random() < 0.5 else picture


def crop(picture: Image.Image, generator: random.Random) -> Image.Image:
    """A part of the picture of at least half its area, anywhere, its sides in another ratio."""
    width, height = picture.size
    area = width * height * generator.uniform(*AREA)
    ratio = width / height * math.exp(generator.uniform(*(math.log(bound) for bound in RATIO)))
    wide = max(1, min(width, round(math.sqrt(area * ratio))))
    high = max(1, min(height, round(math.sqrt(area / ratio))))
    left, top = generator.randint(0, width - wide), generator.randint(0, height - high)
    return picture.crop((left, top, left + wide, top + high))


def gain(sound: Sound, generator: random.Random) -> Sound:
    """Louder or softer."""
    factor = 10 ** (generator.uniform(-GAIN, GAIN) / 20)
    return Sound((sound.samples * np.float32(factor)).clip(-1, 1), sound.sampling_rate)


def noise(sound: Sound, generator: random.Random) -> Sound:
    """White noise under the sound, 15 to 40 dB below its own power."""
    power = float(np.mean(np.square(sound.samples, dtype=np.float64)))
    scale = math.sqrt(power * 10 ** (-generator.uniform(*NOISE) / 10))
    hiss = np.random.default_rng(generator.getrandbits(64)).standard_normal(len(sound.samples), dtype=np.float32)
    return Sound(sound.samples + np.float32(scale) * hiss, sound.sampling_rate)


AUGMENTATIONS: dict[str, dict[str, Callable[[Any, random.Random], Any]]] = {
    "image": {"crop": crop, "mirror": mirror},
    "audio": {"gain": gain, "noise": noise},
}


def augmentation(modality: str, names: Sequence[str]) -> Augmentation:
    """The augmentations of these names, one after the other.

    Raises:
        ConfigurationError: a modality or a name that is not there.
    """
    check_choice("augment", modality, AUGMENTATIONS)
    known = AUGMENTATIONS[modality]
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(f"augment: {unknown[0]!r} is none of {', '.join(known)} for {modality}")
    steps = [known[name] for name in names]

    def apply(medium: Any, generator: random.Random) -> Any:
        for step in steps:
            medium = step(medium, generator)
        return medium

    return apply
