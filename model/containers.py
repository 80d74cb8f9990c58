"""Sounds that libsndfile does not read: AAC, and what browsers and telephones record (MP4, WebM).

Decoded by FFmpeg through PyAV, which knows hundreds of formats; only these few are let near it, by their first bytes
and by the names of demuxer and decoder.
"""

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.errors import MediaError, MediaLimitError
from model.media import MAX_SAMPLING_RATE, TOLERANCE_SECONDS, MediaLimits

if TYPE_CHECKING:
    import av
    from av.audio.stream import AudioStream
    from av.container import InputContainer

CONTAINER_FORMATS = ("M4A", "MP4", "WEBM", "AAC")
DECODERS = ("aac", "alac", "opus", "vorbis", "mp3", "mp3float", "flac")
# What is told to FFmpeg: never look at another file, and use no decoder but these.
_OPTIONS = {"codec_whitelist": ",".join(DECODERS), "protocol_whitelist": ""}
# Fewer samples than the header promises by no more than this: encoders round up to whole frames.
SLACK_SECONDS = 0.25
_FULL_SCALE = {"s16": 1 << 15, "s32": 1 << 31}


def demuxer(data: bytes) -> str | None:
    """FFmpeg's name of the container that a file is, by its first 12 bytes; None for what is not read here."""
    if data[4:8] == b"ftyp":
        return "mov"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    # A frame of AAC; MPEG audio has the same beginning and another layer.
    return "aac" if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0 else None


def decode_contained(data: bytes, limits: MediaLimits) -> tuple[npt.NDArray[np.float32], int]:
    """The samples of the one sound in a container, mixed to one channel, and their rate in Hz.

    Raises:
        MediaError: moving pictures in it, not exactly one sound, or less of it than its header says.
        MediaLimitError: more seconds or channels than allowed; checked before and while decoding.
        Exception: whatever PyAV raises on a damaged file.
    """
    import av

    with av.open(io.BytesIO(data), "r", format=demuxer(data), options=_OPTIONS) as container:
        return _decode(container, limits)


def _decode(container: "InputContainer", limits: MediaLimits) -> tuple[npt.NDArray[np.float32], int]:
    stream = _only_sound(container)
    promised = _promised_seconds(container, stream)
    if promised is not None and promised > limits.max_seconds + SLACK_SECONDS:
        raise _too_long(promised, limits)
    # Threads of its own would only wait for each other.
    stream.codec_context.thread_count = 1
    blocks: list[npt.NDArray[np.float32]] = []
    total = rate = 0
    for frame in container.decode(stream):
        rate = rate or frame.sample_rate
        if frame.sample_rate != rate:
            raise MediaError("the sound changes its sampling rate; export it again as WAV, FLAC, OGG or MP3")
        if not 1 <= rate <= MAX_SAMPLING_RATE:
            raise MediaError(f"the sound has a sampling rate of {rate} Hz; 1..{MAX_SAMPLING_RATE} are accepted")
        block = _mono(frame, limits)
        total += len(block)
        if total > math.ceil((limits.max_seconds + TOLERANCE_SECONDS) * rate):
            raise _too_long(total / rate, limits)
        blocks.append(block)
    if promised is not None and rate and total / rate < promised - SLACK_SECONDS:
        raise MediaError(
            f"the sound's header promises {promised:.2f} s, the file holds {total / rate:.2f} s; send it again"
        )
    return (np.concatenate(blocks) if blocks else np.zeros(0, np.float32)), rate


def _only_sound(container: "InputContainer") -> "AudioStream":
    from av.stream import Disposition

    sounds = container.streams.audio
    if any(not video.disposition & Disposition.attached_pic for video in container.streams.video):
        raise MediaError("the file holds moving pictures, which this model does not see; send its sound alone")
    if len(sounds) != 1:
        raise MediaError(f"the file holds {len(sounds)} sounds; send one with exactly one")
    (stream,) = sounds
    if stream.codec_context is None or stream.codec_context.name not in DECODERS:
        raise MediaError("the file's sound has an unknown coding; send AAC, Opus, or WAV, FLAC, OGG or MP3")
    return stream


def _promised_seconds(container: "InputContainer", stream: "AudioStream") -> float | None:
    """How long the header says the sound is; recordings written as they were made do not say, raw AAC is guessed."""
    import av

    if container.format.name == "aac":
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration and container.duration > 0 else None


def _mono(frame: "av.AudioFrame", limits: MediaLimits) -> npt.NDArray[np.float32]:
    channels = frame.layout.nb_channels
    if channels > limits.max_channels:
        raise MediaLimitError(f"the sound has {channels} channels, at most {limits.max_channels} are decoded")
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    scale = _FULL_SCALE.get(frame.format.packed.name, 1)
    return samples.mean(axis=0, dtype=np.float32) / np.float32(scale)


def _too_long(seconds: float, limits: MediaLimits) -> MediaLimitError:
    return MediaLimitError(
        f"the sound lasts {seconds:.0f} s or more, at most {limits.max_seconds:g} s are decoded; send a shorter one"
    )
