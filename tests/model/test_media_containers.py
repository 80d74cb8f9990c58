"""AAC and the recordings of browsers: the same sound as before it was encoded, and nothing of it cut."""

import io
import struct
from typing import Any

import av
import numpy as np
import pytest

from model.containers import demuxer
from model.errors import MediaError, MediaLimitError
from model.media import MediaLimits, decode_audio, modality_of

RATE = 48_000
# What encoders write, by what records it: (container, codec, options).
RECORDINGS: dict[str, tuple[str, str, dict[str, str]]] = {
    "a telephone's M4A": ("ipod", "aac", {}),
    "Safari's MP4": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
    "Chrome's WebM": ("webm", "libopus", {"live": "1"}),
    "an editor's WebM": ("webm", "libopus", {}),
    "Firefox's Ogg": ("ogg", "libopus", {}),
    "raw AAC": ("adts", "aac", {}),
    "lossless M4A": ("ipod", "alac", {}),
}


def tone(seconds: float, channels: int = 1) -> np.ndarray:
    """Float32 `[channels, n]`; every channel louder than the one before."""
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)
    return np.stack([wave * (1 + index) for index in range(channels)]).astype(np.float32)


def encode(form: str, codec: str, options: dict[str, str], samples: np.ndarray, **extra: Any) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as container:
        layout = "mono" if len(samples) == 1 else "stereo"
        stream = container.add_stream(codec, rate=RATE, layout=layout)
        if extra.get("video"):
            moving = container.add_stream("libvpx", rate=5, width=32, height=32, pix_fmt="yuv420p")
            for packet in moving.encode(av.VideoFrame(32, 32, "yuv420p")) + moving.encode(None):
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        for packet in stream.encode(frame) + stream.encode(None):
            container.mux(packet)
    return file.getvalue()


def recording(name: str, seconds: float = 1.0, channels: int = 1) -> bytes:
    return encode(*RECORDINGS[name], tone(seconds, channels))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_the_sound_that_was_recorded(name: str, channels: int) -> None:
    data = recording(name, 1.0, channels)
    assert modality_of(data[:48]) == "audio"
    sound = decode_audio(data)
    assert sound.sampling_rate == RATE
    assert sound.samples.dtype == np.float32
    # Encoders fill up their last frame, and raw AAC does not say where the sound begins.
    assert 1.0 <= sound.seconds < 1.06
    # The middle, clear of what encoders do at both ends: the mean of the channels, shifted by a few milliseconds.
    expected = tone(1.0, channels).mean(axis=0)[RATE // 4 : -RATE // 4]
    level = np.sqrt(np.mean(sound.samples[RATE // 4 : -RATE // 4] ** 2))
    assert level == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.03)
    spectrum = np.abs(np.fft.rfft(sound.samples[RATE // 4 : RATE // 4 + RATE // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=2)


def test_lossless_is_lossless() -> None:
    samples = tone(0.5, 2)
    sound = decode_audio(encode("ipod", "alac", {}, samples))
    assert len(sound.samples) == samples.shape[1]
    np.testing.assert_allclose(sound.samples, samples.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_length_is_limited_to_the_sample(name: str) -> None:
    data = recording(name, 2.0)
    exact = decode_audio(data).seconds
    assert decode_audio(data, MediaLimits(max_seconds=exact)).seconds == exact
    for most in (exact - 0.01, 1.0, 0.05):
        with pytest.raises(MediaLimitError, match="s are decoded"):
            decode_audio(data, MediaLimits(max_seconds=most))


@pytest.mark.parametrize("name", ["a telephone's M4A", "Chrome's WebM"])
def test_channels_are_limited(name: str) -> None:
    with pytest.raises(MediaLimitError, match="2 channels, at most 1"):
        decode_audio(recording(name, channels=2), MediaLimits(max_channels=1))


@pytest.mark.parametrize("name", sorted(set(RECORDINGS) - {"raw AAC", "Chrome's WebM", "Firefox's Ogg"}))
def test_what_is_missing_is_noticed(name: str) -> None:
    data = recording(name, 3.0)
    with pytest.raises(MediaError):
        decode_audio(data[: len(data) // 2])


def test_a_header_that_promises_more() -> None:
    data = bytearray(recording("an editor's WebM", 1.0))
    at = data.index(b"\x44\x89\x88") + 3
    (milliseconds,) = struct.unpack(">d", data[at : at + 8])
    assert milliseconds == pytest.approx(1000, abs=30)
    data[at : at + 8] = struct.pack(">d", 5000)
    with pytest.raises(MediaError, match=r"promises 5\.00 s, the file holds 1\.0"):
        decode_audio(bytes(data))
    data[at : at + 8] = struct.pack(">d", 1e300)
    # No number of seconds at all: as if nothing was promised.
    assert decode_audio(bytes(data)).seconds == pytest.approx(1.0, abs=0.03)


def test_moving_pictures_are_not_sounds() -> None:
    data = encode("webm", "libopus", {}, tone(1.0), video=True)
    with pytest.raises(MediaError, match="moving pictures"):
        decode_audio(data)


def test_no_decoder_but_the_listed_ones() -> None:
    """A container of sounds that FFmpeg could decode, and that nobody asked it to."""
    data = encode("matroska", "pcm_s16le", {}, tone(0.2))
    with pytest.raises(MediaError):
        decode_audio(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x20ftypM4A " + bytes(64),
        b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xff\xff\xff\xffmoov",
        b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\x01moov" + b"\xff" * 8,
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3" + b"\xff" * 500,
        b"\xff\xf1" + bytes(100),
        b"\xff\xf1\x50\x80\x00\x1f\xfc" * 200,
    ],
)
def test_damaged(data: bytes) -> None:
    assert demuxer(data) is not None
    with pytest.raises(MediaError):
        decode_audio(data)


def test_any_truncation_and_any_flipped_byte_ends_well() -> None:
    rng = np.random.default_rng(0)
    for name in RECORDINGS:
        data = recording(name, 0.2)
        for _ in range(25):
            spoiled = bytearray(data[: rng.integers(1, len(data) + 1)])
            for position in rng.integers(0, len(spoiled), 3):
                spoiled[position] = rng.integers(256)
            try:
                sound = decode_audio(bytes(spoiled))
            except MediaError:
                continue
            assert np.isfinite(sound.samples).all()


@pytest.mark.parametrize("brand", [b"heic", b"avif", b"mif1", b"qt  ", b"crx "])
def test_other_files_of_the_same_container(brand: bytes) -> None:
    assert modality_of(b"\0\0\0\x20ftyp" + brand + bytes(40)) is None
