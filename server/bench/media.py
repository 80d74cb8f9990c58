"""Pictures and sounds for requests: made from a seed, so that every run and every machine sends the same bytes."""

import io
import mimetypes
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.errors import ConfigurationError

RATE = 16_000
# Side of the coarse pattern that a picture is enlarged from: about as many bytes a pixel as a photograph's JPEG.
PATTERN = 24
SUFFIXES = {"image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"), "audio": (".wav", ".flac", ".ogg", ".mp3")}
# What the API calls the format of a sound.
_FORMATS = {".mp3": "mp3", ".flac": "flac", ".ogg": "ogg"}


@dataclass(frozen=True, kw_only=True)
class Medium:
    """One file as it is sent."""

    modality: str
    """`image` or `audio`."""
    data: bytes
    """Its bytes."""
    mime: str
    """Its declared type."""
    format: str
    """Its format as `input_audio` names it."""


Maker = Callable[[int], Medium]


def picture(seed: int, size: tuple[int, int]) -> Medium:
    """A JPEG of soft coloured shapes under fine noise, another one for every seed."""
    rng = np.random.default_rng((1, seed))
    coarse = Image.fromarray(rng.integers(0, 256, (PATTERN, PATTERN, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    pixels = pixels + rng.integers(-6, 7, pixels.shape, dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return Medium(modality="image", data=file.getvalue(), mime="image/jpeg", format="jpeg")


def sound(seed: int, seconds: float) -> Medium:
    """A 16-bit WAV file, mono at 16 kHz, of a chord under noise, another one for every seed."""
    rng = np.random.default_rng((2, seed))
    time = np.arange(max(1, round(seconds * RATE))) / RATE
    chord = sum(np.sin(2 * np.pi * rng.uniform(100, 4000) * time) for _ in range(3))
    samples = 0.2 * chord + 0.02 * rng.standard_normal(len(time))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return Medium(modality="audio", data=file.getvalue(), mime="audio/wav", format="wav")


def from_folder(folder: Path, modality: str) -> Maker:
    """The files of one modality in a folder, in an order that depends on nothing but their names.

    Raises:
        ConfigurationError: there are none.
    """
    files = sorted(path for path in folder.glob("**/*") if path.suffix.lower() in SUFFIXES[modality])
    if not files:
        kinds = ", ".join(SUFFIXES[modality])
        raise ConfigurationError(f"{folder}: no file for {modality}; their names end in {kinds}")
    return lambda index: _read(files, modality, index)


def _read(files: Sequence[Path], modality: str, index: int) -> Medium:
    path = files[index % len(files)]
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Medium(modality=modality, data=path.read_bytes(), mime=mime, format=_FORMATS.get(path.suffix.lower(), "wav"))
