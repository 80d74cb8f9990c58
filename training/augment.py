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
from PIL import Image, ImageEnhance, ImageOps

from model.errors import ConfigurationError
from model.fields import check_choice
from model.media import Sound, resample
from training.cache import Augmentation

# Share of the area, and ratio of the sides, that a crop keeps: the ratio of Szegedy et al. 2015 (section 6), an area
# from half upwards because captions tell of the whole picture.
AREA, RATIO = (0.5, 1.0), (3 / 4, 4 / 3)
# Factor on saturation, brightness and contrast.
TINT = (0.6, 1.4)
# Sides of the sheet that a picture is laid on, in its own.
SHEET = (1.0, 1.8)
# Sides that a softened picture is reduced to on the way.
SOFT = (0.15, 1.0)
# Louder or softer by at most so many decibels.
GAIN = 6.0
# Decibels between a sound and the white noise laid under it.
NOISE = (15.0, 40.0)
# Sampling rate of a telephone line, Hz.
LINE = 8_000
# Seconds until an echo is 60 decibels down, and its loudness beside the sound's.
ECHO, WET = (0.1, 0.6), (0.05, 0.5)
# Factor on speed and pitch.
SPEED = (0.88, 1.14)


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


def tint(picture: Image.Image, generator: random.Random) -> Image.Image:
    """Paler or stronger colours, more or less light and contrast; hues stay."""
    for change in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = change(picture).enhance(generator.uniform(*TINT))
    return picture


def surround(picture: Image.Image, generator: random.Random) -> Image.Image:
    """The picture somewhere on a larger sheet of one colour, every other time a white one."""
    width, height = (round(side * generator.uniform(*SHEET)) for side in picture.size)
    white = generator.random() < 0.5
    sheet = Image.new("RGB", (width, height), "white" if white else tuple(generator.randbytes(3)))
    place = generator.randint(0, width - picture.width), generator.randint(0, height - picture.height)
    sheet.paste(picture, place)
    return sheet


def soften(picture: Image.Image, generator: random.Random) -> Image.Image:
    """Finer details lost, as in a picture that was small once."""
    share = generator.uniform(*SOFT)
    small = [max(1, round(side * share)) for side in picture.size]
    return picture.resize((small[0], small[1]), Image.Resampling.BILINEAR).resize(
        picture.size, Image.Resampling.BILINEAR
    )


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


def telephone(sound: Sound, generator: random.Random) -> Sound:
    """Nothing above 4 kHz, every other time."""
    if generator.random() < 0.5 or sound.sampling_rate <= LINE:
        return sound
    heard = resample(resample(sound, LINE), sound.sampling_rate).samples
    # Rounded twice, it may be a sample longer or shorter.
    missing = max(0, len(sound.samples) - len(heard))
    return Sound(np.pad(heard, (0, missing))[: len(sound.samples)], sound.sampling_rate)


def echo(sound: Sound, generator: random.Random) -> Sound:
    """In a room: an echo that fades like noise (Polack 1988), and ends with the sound."""
    seconds, wet = generator.uniform(*ECHO), generator.uniform(*WET)
    count = max(1, round(seconds * sound.sampling_rate))
    # 60 decibels are a factor of 1000.
    fading = np.exp(-math.log(1000) * np.arange(count) / count)
    room = np.random.default_rng(generator.getrandbits(64)).standard_normal(count) * fading
    room *= wet / np.sqrt(np.square(room).sum())
    size = 1 << (len(sound.samples) + count - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(sound.samples, size) * np.fft.rfft(room, size), size)[: len(sound.samples)]
    return Sound((sound.samples + heard).astype(np.float32), sound.sampling_rate)


def speed(sound: Sound, generator: random.Random) -> Sound:
    """Faster and higher, or slower and deeper, as a tape."""
    rate = round(sound.sampling_rate * generator.uniform(*SPEED))
    return resample(Sound(sound.samples, rate), sound.sampling_rate)


AUGMENTATIONS: dict[str, dict[str, Callable[[Any, random.Random], Any]]] = {
    "image": {"crop": crop, "mirror": mirror, "tint": tint, "surround": surround, "soften": soften},
    "audio": {"gain": gain, "noise": noise, "telephone": telephone, "echo": echo, "speed": speed},
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
