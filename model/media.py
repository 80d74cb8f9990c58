"""Bytes -> decoded media, with limits checked before anything large is allocated.

Used by the training data readers and by the server's media connector, so a picture or sound means the same to both.
Bytes are sniffed, never believed: a declared MIME type plays no role. Pure functions, no network.
"""

import binascii
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pybase64
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from model.errors import MediaCostError, MediaError, MediaLimitError

if TYPE_CHECKING:
    import soundfile


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """What one medium may cost to decode."""

    max_bytes: int = 25 * 1024 * 1024
    """Size of the encoded file, bytes."""
    max_pixels: int = 25_000_000
    """Width times height of a picture."""
    max_seconds: float = 600.0
    """Length of a sound at decoding; the encoder's own window is usually shorter."""
    max_channels: int = 8
    """Channels of a sound."""


DEFAULT_LIMITS = MediaLimits()
# How files begin. Containers that hold either kind say which at their eighth byte.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"BM", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"fLaC", "audio"),
    (b"OggS", "audio"),
    (b"ID3", "audio"),
    (b"\x1a\x45\xdf\xa3", "audio"),
)
# What telephones, browsers and editors write sounds as; pictures in such a container have other names.
_BRANDS = (b"M4A ", b"M4B ", b"mp41", b"mp42", b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"dash")
_CONTAINED = {b"WEBP": "image", b"WAVE": "audio", b"AIFF": "audio", b"AIFC": "audio"}
_CONTAINED |= {b"ftyp" + brand: "audio" for brand in _BRANDS}
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# libsndfile reads many more; rarely used parsers are no place for bytes from strangers.
SOUND_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF")
MAX_SAMPLING_RATE = 192_000
# Frames decoded at a time: channels are mixed block by block, so memory holds one channel whatever the file has.
BLOCK = 1 << 18
# Rounding of a length in samples to another sampling rate; nobody is refused for it.
TOLERANCE_SECONDS = 1e-3
# Loudest sample accepted. Full scale is 1; some tools write 16-bit values as floats. Beyond, spectrograms overflow.
MAX_AMPLITUDE = 1 << 16
# Container -> (its byte order, its kind, the chunk that holds the samples).
CHUNKED: dict[bytes, tuple[Literal["little", "big"], tuple[bytes, ...], bytes]] = {
    b"RIFF": ("little", (b"WAVE",), b"data"),
    b"RIFX": ("big", (b"WAVE",), b"data"),
    b"FORM": ("big", (b"AIFF", b"AIFC"), b"SSND"),
}


@dataclass(frozen=True, eq=False)
class Sound:
    """A mono sound: float32 samples `[n]` within about -1..1, and their rate in Hz."""

    samples: npt.NDArray[np.float32]
    sampling_rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sampling_rate


def modality_of(data: bytes) -> Literal["image", "audio"] | None:
    """What a file is by its first 12 bytes or more; None for what is neither a picture nor a sound.

    A sound whose container is recognised here may still be one that `decode_audio` refuses by name.
    """
    found = next((kind for beginning, kind in _BEGINNINGS if data.startswith(beginning)), None)
    found = found or _CONTAINED.get(data[8:12]) or _CONTAINED.get(data[4:12])
    # An MP3 file without tags begins with the eleven set bits of a frame.
    if found is None and len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        found = "audio"
    return "image" if found == "image" else "audio" if found == "audio" else None


def check_encoded(data: bytes, modality: str, limits: MediaLimits = DEFAULT_LIMITS) -> None:
    """What can be refused without a decoder.

    Raises:
        MediaError: empty, or its first bytes are those of the other modality.
        MediaLimitError: more bytes than allowed.
    """
    _check_bytes(data, limits, "picture" if modality == "image" else "sound")
    found = modality_of(data)
    if modality == "image" and found == "audio":
        raise MediaError(f"not a picture but a sound: send one of {', '.join(IMAGE_FORMATS)}, or the sound as a sound")
    if modality == "audio" and found == "image":
        raise MediaError("not a sound but a picture: send WAV, FLAC, OGG or MP3, or the picture as a picture")


def decode_image(data: bytes, limits: MediaLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode a picture to RGB, its EXIF orientation applied and transparency laid on white.

    Raises:
        MediaError: empty, not a picture of a supported format, or truncated.
        MediaLimitError: more bytes or pixels than allowed; pixels are checked before they are decoded.
        MediaCostError: no memory for it.
    """
    _check_bytes(data, limits, "picture")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        width, height = image.size
        if width * height > limits.max_pixels:
            raise MediaLimitError(
                f"the picture has {width}x{height} pixels, at most {limits.max_pixels} are decoded; send a smaller one"
            )
        if min(width, height) < 1:
            raise MediaError(f"the picture has {width}x{height} pixels; send one with at least one")
        _check_tile(image, limits)
        image.load()
        image = _upright(_eight_bit(image))
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            # Most have an alpha channel that hides nothing; white would shine through nowhere.
            opaque = rgba.getchannel("A").getextrema() == (255, 255)
            image = rgba if opaque else Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return image.convert("RGB")
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaLimitError(f"the picture has more than {limits.max_pixels} pixels; send a smaller one") from None
    except UnidentifiedImageError:
        raise MediaError(f"not a picture: send one of {', '.join(IMAGE_FORMATS)}") from None
    except MemoryError:
        raise MediaCostError("decoding the picture takes too much memory; send a smaller one") from None
    # Pillow's decoders raise many kinds of errors on hostile bytes; all of them mean the same to the sender.
    except Exception as error:
        raise MediaError(f"the picture is damaged or truncated ({type(error).__name__}); send it again") from None


def _check_tile(image: Image.Image, limits: MediaLimits) -> None:
    """A tile of a TIFF file is decoded whole, however little of it the picture covers.

    Raises:
        MediaLimitError: it has more pixels than a picture may.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    sides = [image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
    width, height = (side if isinstance(side, int) else 0 for side in sides)
    if width * height > limits.max_pixels:
        raise MediaLimitError(
            f"the picture is in tiles of {width}x{height} pixels, at most {limits.max_pixels} are decoded; "
            "send it in smaller ones"
        )


def decode_audio(data: bytes, limits: MediaLimits = DEFAULT_LIMITS) -> Sound:
    """Decode a sound (WAV, FLAC, OGG, MP3, AIFF; AAC, MP4 and WebM) to mono at its own sampling rate.

    Raises:
        MediaError: empty, not a sound, a header that promises what the bytes do not hold, or NaN or infinite samples.
        MediaLimitError: more bytes, seconds or channels than allowed; checked before decoding.
        MediaCostError: no memory for it.
    """
    from model.containers import decode_contained, demuxer

    _check_bytes(data, limits, "sound")
    try:
        mono, rate = decode_contained(data, limits) if demuxer(data) else _read_file(data, limits)
    except MediaError:
        raise
    except MemoryError:
        raise MediaCostError("decoding the sound takes too much memory; send a smaller one") from None
    # libsndfile and FFmpeg fail in many ways on hostile bytes; all of them mean the same to the sender.
    except Exception as error:
        raise MediaError(
            f"not a sound, or a damaged one ({type(error).__name__}): send WAV, FLAC, OGG or MP3"
        ) from None
    if len(mono) == 0:
        raise MediaError("the sound holds no samples; send a recording with at least one")
    if not np.isfinite(mono).all():
        raise MediaError("the sound holds NaN or infinite samples; export it again as 16-bit PCM")
    if np.abs(mono).max() > MAX_AMPLITUDE:
        raise MediaError(
            f"the sound's samples reach {np.abs(mono).max():.3g}, full scale is 1; export it again as 16-bit PCM"
        )
    return Sound(np.ascontiguousarray(mono, dtype=np.float32), int(rate))


def resample(sound: Sound, sampling_rate: int) -> Sound:
    """Change the sampling rate with soxr's high-quality filter; the same object when it already fits."""
    if sound.sampling_rate == sampling_rate:
        return sound
    import soxr

    return Sound(
        np.ascontiguousarray(soxr.resample(sound.samples, sound.sampling_rate, sampling_rate), dtype=np.float32),
        sampling_rate,
    )


def decode_data_url(url: str) -> bytes:
    """The bytes of a `data:[type];base64,...` URL.

    Raises:
        MediaError: not a data URL, or broken base64.
    """
    header, comma, payload = url.partition(",")
    if not header.startswith("data:") or not comma or not header.endswith(";base64"):
        raise MediaError("not a base64 data URL: send data:<type>;base64,<bytes>")
    try:
        return pybase64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("the data URL's base64 is broken; encode the bytes again") from None


def _check_bytes(data: bytes, limits: MediaLimits, what: str) -> None:
    if not data:
        raise MediaError(f"the {what} is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise MediaLimitError(f"the {what} has {len(data)} bytes, at most {limits.max_bytes} are decoded")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Bring 16 bits per pixel down to 8; Pillow's own conversion would turn nearly all of it white."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        converted = Image.fromarray(grey)
        converted.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return converted
    if image.mode in ("I", "F"):
        raise MediaError("the picture has 32 bits per pixel; save it with 8 or 16 bits per channel")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data does not make a good picture a bad one."""
    try:
        # Nearly all are upright, and Pillow would copy them.
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        return image if upright else ImageOps.exif_transpose(image)
    except Exception:
        return image


class _Bytes(io.BytesIO):
    """Bytes whose position stays inside them: hostile headers send libsndfile anywhere, which Python would only log."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as far as possible."""
        size = self.getbuffer().nbytes
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: size}[whence]
        return super().seek(min(max(start + offset, 0), size))


def _read_file(data: bytes, limits: MediaLimits) -> tuple[npt.NDArray[np.float32], int]:
    """What libsndfile makes of a file: one channel, and its rate in Hz."""
    import soundfile

    with soundfile.SoundFile(_Bytes(data)) as file:
        # The length in an MP3 file is a guess of the decoder; a streamed file may not know its own.
        promised = file.frames if file.format != "MP3" and file.frames < 2**60 else None
        rate, channels = int(file.samplerate), file.channels
        if file.format not in SOUND_FORMATS:
            raise MediaError(f"{file.format} sounds are not decoded; send WAV, FLAC, OGG or MP3")
        if not 1 <= rate <= MAX_SAMPLING_RATE:
            raise MediaError(
                f"the sound's header gives a sampling rate of {rate} Hz; 1..{MAX_SAMPLING_RATE} are accepted"
            )
        if channels > limits.max_channels:
            raise MediaLimitError(f"the sound has {channels} channels, at most {limits.max_channels} are decoded")
        most = math.ceil((limits.max_seconds + TOLERANCE_SECONDS) * rate)
        if promised is not None and promised > most and not _header_lies(data, promised, channels):
            raise _too_long(promised / rate, limits)
        mono = _read_mono(file, most + 1)
    if len(mono) > most:
        raise _too_long(len(mono) / rate, limits)
    if promised is not None and len(mono) < promised:
        raise MediaError(f"the sound's header promises {promised} samples, the file holds {len(mono)}; send it again")
    _check_chunk_promise(data)
    return mono, rate


def _read_mono(file: "soundfile.SoundFile", most: int) -> npt.NDArray[np.float32]:
    """The mean over channels of at most `most` frames."""
    blocks: list[npt.NDArray[np.float32]] = []
    total = 0
    while total < most:
        block = file.read(min(BLOCK, most - total), dtype="float32", always_2d=True)
        if len(block) == 0:
            break
        blocks.append(block.mean(axis=1))
        total += len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _too_long(seconds: float, limits: MediaLimits) -> MediaLimitError:
    return MediaLimitError(
        f"the sound lasts {seconds:.0f} s or more, at most {limits.max_seconds:g} s are decoded; send a shorter one"
    )


def _header_lies(data: bytes, frames: int, channels: int) -> bool:
    """Whether a file of this size is unlikely to hold so many frames even at the best compression seen in practice."""
    return frames * channels > len(data) * 512


def _check_chunk_promise(data: bytes) -> None:
    """Refuse a file whose chunk of samples promises more bytes than follow it; decoders silently read what is there."""
    order, kinds, wanted = CHUNKED.get(data[:4], ("little", (), b""))
    if data[8:12] not in kinds:
        return
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], order)
        if data[position : position + 4] == wanted:
            held = len(data) - position - 8
            # 0 and 2^32-1 are how a stream says that its length was unknown when it began.
            if held < size < 2**32 - 1 - 2**16:
                raise MediaError(
                    f"the sound's header promises {size} bytes of samples, the file holds {held}; send it again"
                )
            return
        position += 8 + size + size % 2
