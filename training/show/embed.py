"""Media as data URLs of a bounded size.

A medium that is small and that browsers know is embedded as it is; any other is decoded, made smaller and encoded anew,
and says so. One that cannot be decoded is shown as the error it is.
"""

import base64
import io
from dataclasses import dataclass

import soundfile
from PIL import Image

from model.errors import MediaError
from model.media import DEFAULT_LIMITS, Sound, decode_audio, decode_image
from training.data import MediaRef

# Embedded as they are up to this size, bytes.
SMALL = {"image": 256 << 10, "audio": 512 << 10}
# Longer side of a picture that is made smaller, pixels; and the part of a long sound that is kept, seconds.
PIXELS, SECONDS = 768, 30.0
# What browsers show and play: first bytes -> type. RIFF is WAV or WebP by what follows.
TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"OggS": "audio/ogg",
    b"fLaC": "audio/flac",
    b"ID3": "audio/mpeg",
}
RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


@dataclass(frozen=True)
class Embedded:
    """One medium on a page."""

    modality: str
    name: str
    """Of its file."""
    url: str | None = None
    """`data:` URL, unless there is none."""
    note: str = ""
    """Size or length, and what was changed; or why there is nothing to show."""
    bytes: int = 0
    """What it takes of the page's limit."""


def embed(reference: MediaRef, left: int) -> Embedded:
    """Embed a medium if it fits into what is left of the page.

    Args:
        reference: the medium.
        left: bytes that the page has left.
    """
    modality, path = reference.modality, reference.path
    if reference.row is not None:
        return Embedded(modality, f"{path.name}#{reference.row}", note="features, computed before")
    try:
        if path.stat().st_size > DEFAULT_LIMITS.max_bytes:
            raise MediaError(f"more than {DEFAULT_LIMITS.max_bytes} bytes")
        data = path.read_bytes()
        kind, small, note = _picture(data) if modality == "image" else _sound(data)
    except OSError as error:
        return Embedded(modality, path.name, note=f"cannot be read ({error.strerror})")
    except MediaError as error:
        return Embedded(modality, path.name, note=str(error))
    if len(small) > left:
        return Embedded(modality, path.name, note=f"{note}; left out, the page is full")
    url = f"data:{kind};base64,{base64.b64encode(small).decode()}"
    return Embedded(modality, path.name, url, note, len(small))


def _picture(data: bytes) -> tuple[str, bytes, str]:
    """MIME type, bytes and note."""
    picture = decode_image(data)
    note = f"{picture.width}x{picture.height}"
    kind = _kind(data)
    if len(data) <= SMALL["image"] and kind is not None and max(picture.size) <= PIXELS:
        return kind, data, note
    picture.thumbnail((PIXELS, PIXELS), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "image/jpeg", buffer.getvalue(), f"{note}, shown as {picture.width}x{picture.height} JPEG"


def _sound(data: bytes) -> tuple[str, bytes, str]:
    sound = decode_audio(data)
    note = f"{sound.seconds:.1f} s, {sound.sampling_rate} Hz"
    kind = _kind(data)
    if len(data) <= SMALL["audio"] and kind is not None:
        return kind, data, note
    cut = sound.samples[: int(SECONDS * sound.sampling_rate)]
    note += f", the first {SECONDS:g} s as FLAC" if len(cut) < len(sound.samples) else ", shown as FLAC"
    return "audio/flac", _flac(Sound(cut, sound.sampling_rate)), note


def _flac(sound: Sound) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound.samples, sound.sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _kind(data: bytes) -> str | None:
    """The MIME type of what browsers know, by its first bytes."""
    if data[:4] == b"RIFF":
        return RIFF.get(data[8:12])
    # MP3 frames begin with eleven set bits.
    if data[:1] == b"\xff" and data[1:2] and data[1] & 0xE0 == 0xE0 and data[:3] != b"\xff\xd8\xff":
        return "audio/mpeg"
    return next((kind for start, kind in TYPES.items() if data.startswith(start)), None)
