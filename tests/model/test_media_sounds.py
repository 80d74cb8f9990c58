"""Decoding sounds: containers, channels, headers that lie, bad samples, limits, and hostile bytes."""

import io
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import media
from model.errors import MediaError, MediaLimitError
from model.media import MediaLimits, Sound, decode_audio, resample
from tests.support.tiny import sound, sound_bytes

RATE = 16_000
# (container, encoding, tolerated mean error)
CONTAINERS = [
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "PCM_U8", 1e-2),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 1e-7),
    ("WAV", "ULAW", 2e-2),
    ("WAVEX", "PCM_16", 1e-4),
    ("RF64", "PCM_16", 1e-4),
    ("AIFF", "PCM_16", 1e-4),
    ("FLAC", "PCM_16", 1e-4),
    ("OGG", "VORBIS", 5e-2),
    ("OGG", "OPUS", 1e-1),
    ("MP3", "MPEG_LAYER_III", 5e-2),
]


def encoded(samples, container="WAV", encoding=None, rate=RATE, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=encoding, **options)
    return buffer.getvalue()


def wav(payload, promised=None, rate=RATE, channels=1, bits=16, code=1):
    """A WAV file by hand; `promised` is the size its header claims for the samples."""
    size = len(payload) if promised is None else promised
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + payload
    return b"RIFF" + struct.pack("<I", (4 + 24 + 8 + size) & 0xFFFFFFFF) + body


@pytest.mark.parametrize(("container", "encoding", "tolerance"), CONTAINERS)
@pytest.mark.parametrize("block", [1000, 1 << 18])
def test_containers(container, encoding, tolerance, block, monkeypatch):
    """Decoding block by block gives what decoding at once gives."""
    monkeypatch.setattr(media, "BLOCK", block)
    samples = sound(2, seconds=1.5)
    data = encoded(samples, container, encoding)
    decoded = decode_audio(data)
    at_once, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert decoded.sampling_rate == RATE
    assert decoded.samples.dtype == np.float32
    # Two runs of the MP3 decoder differ in the last bit.
    np.testing.assert_allclose(decoded.samples, at_once, atol=1e-6)
    assert len(decoded.samples) == len(samples)
    assert np.abs(decoded.samples - samples).mean() <= tolerance
    assert decoded.seconds == pytest.approx(1.5)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_own_sampling_rate_is_kept(rate):
    decoded = decode_audio(sound_bytes(0, 0.25, rate))
    assert (decoded.sampling_rate, len(decoded.samples)) == (rate, rate // 4)


def test_channels_are_averaged():
    left, right = sound(0), sound(1)
    decoded = decode_audio(encoded(np.stack([left, right], axis=1), "WAV", "FLOAT"))
    np.testing.assert_allclose(decoded.samples, (left + right) / 2, atol=1e-7)
    eight = np.stack([sound(seed) for seed in range(8)], axis=1)
    np.testing.assert_allclose(decode_audio(encoded(eight, "WAV", "FLOAT")).samples, eight.mean(axis=1), atol=1e-6)


def test_one_sample_is_a_sound():
    assert len(decode_audio(encoded(np.array([0.5], np.float32))).samples) == 1


def without_length_header(data):
    """An MP3 file as streams and old encoders write it: without the leading frame that tells its length."""
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    start = data.find(b"\xff")
    return data[data.index(data[start : start + 2], tag) :]


def test_mp3_without_length_header_is_decoded(capfd):
    """Its length is then the decoder's guess from the first frames, here far too long."""
    quiet_then_loud = np.concatenate([np.zeros(2 * RATE), sound(0, seconds=2), np.zeros(2 * RATE)]).astype(np.float32)
    data = without_length_header(encoded(quiet_then_loud, "MP3", bitrate_mode="VARIABLE"))
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.frames > 1.2 * len(quiet_then_loud)
    assert len(decode_audio(data).samples) == pytest.approx(len(quiet_then_loud), abs=3000)
    with pytest.raises(MediaLimitError, match="at most 3 s are decoded"):
        decode_audio(data, MediaLimits(max_seconds=3))


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFFFFF + 0x7FFFFFFF])
def test_streamed_wav_that_did_not_know_its_length(promised):
    payload = (sound(0) * 20_000).astype("<i2").tobytes()
    assert len(decode_audio(wav(payload, promised=promised)).samples) == len(payload) // 2


@pytest.mark.parametrize("promised", [16_002, 100_000, 0x7FFFFFF0])
def test_wav_header_that_promises_more_than_there_is(promised):
    with pytest.raises(MediaError, match=f"promises {promised} bytes of samples, the file holds 16000; send it again"):
        decode_audio(wav(b"\1\0" * 8000, promised=promised))


def test_aiff_header_that_promises_more_than_there_is():
    data = encoded(sound(0), "AIFF", "PCM_16")
    with pytest.raises(MediaError, match="promises"):
        decode_audio(data[:-1000])


def test_flac_header_that_promises_hours():
    """The count of samples in FLAC's header is 36 bits that nobody checks."""
    data = bytearray(encoded(sound(0), "FLAC", "PCM_16"))
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    with pytest.raises(MediaError):
        decode_audio(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_truncated(container):
    data = encoded(sound(0, seconds=2), container)
    for part in (0.8, 0.3, 0.02):
        with pytest.raises(MediaError):
            decode_audio(data[: int(len(data) * part)])


@pytest.mark.parametrize("container", ["OGG", "MP3"])
def test_truncated_streams_end_early_or_are_refused(container, capfd):
    """These have no length to check against: a cut between two of their pages or frames is a shorter sound."""
    data = encoded(sound(0, seconds=2), container)
    for part in (0.8, 0.3, 0.02):
        with suppress(MediaError):
            assert decode_audio(data[: int(len(data) * part)]).seconds < 2


def test_no_samples():
    for data in (wav(b""), encoded(np.zeros(0, np.float32), "FLAC"), encoded(np.zeros(0, np.float32), "AIFF")):
        with pytest.raises(MediaError):
            decode_audio(data)
    with pytest.raises(MediaError, match="holds no samples"):
        decode_audio(wav(b""))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_numbers(value, channels):
    samples = np.zeros((RATE, channels), np.float32)
    samples[77, channels - 1] = value
    with pytest.raises(MediaError, match="NaN or infinite samples; export it again as 16-bit PCM"):
        decode_audio(encoded(samples, "WAV", "FLOAT"))


def test_absurdly_loud_samples():
    """Squares of such samples overflow in the spectrogram and become NaN there."""
    with pytest.raises(MediaError, match=r"reach 1e\+30, full scale is 1"):
        decode_audio(encoded(np.full(99, 1e30, np.float32), "WAV", "FLOAT"))
    assert decode_audio(encoded(np.full(99, 32_767.0, np.float32), "WAV", "FLOAT")).samples.max() == 32_767


def test_limits():
    data = sound_bytes(0, seconds=2)
    with pytest.raises(
        MediaLimitError, match=r"the sound lasts 2 s or more, at most 1\.5 s are decoded; send a shorter one"
    ):
        decode_audio(data, MediaLimits(max_seconds=1.5))
    assert decode_audio(data, MediaLimits(max_seconds=2)).seconds == 2
    with pytest.raises(MediaLimitError, match=f"the sound has {len(data)} bytes, at most 100 are decoded"):
        decode_audio(data, MediaLimits(max_bytes=100))
    many = encoded(np.zeros((10, 9), np.float32), "WAV", "PCM_16")
    with pytest.raises(MediaLimitError, match="has 9 channels, at most 8 are decoded"):
        decode_audio(many)
    with pytest.raises(MediaLimitError, match="1024 channels"):
        decode_audio(encoded(np.zeros((1, 1024), np.float32), "WAV", "PCM_16"))


@pytest.mark.parametrize("rate", [0, 192_001, 0xFFFFFFFF])
def test_impossible_sampling_rates(rate):
    with pytest.raises(MediaError):
        decode_audio(wav(b"\0\0" * 100, rate=rate))


def test_compression_bomb_costs_one_channel_of_the_limit():
    """Silence compresses ten thousandfold; what is decoded is bounded by seconds, not by the file's size."""
    data = encoded(np.zeros((60 * 48_000, 8), np.int16), "FLAC", "PCM_16", rate=48_000)
    assert len(data) < 100_000
    tracemalloc.start()
    with pytest.raises(MediaLimitError):
        decode_audio(data, MediaLimits(max_seconds=5))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"RIFF", b"RIFF\0\0\0\0WAVE", b"OggS" * 10, b"fLaC" + b"\0" * 50]
)
def test_not_a_sound(data):
    with pytest.raises(MediaError):
        decode_audio(data)


@pytest.mark.parametrize("container", ["AU", "CAF", "W64", "VOC"])
def test_rare_containers_are_refused_by_name(container):
    with pytest.raises(MediaError, match=f"{container} sounds are not decoded; send WAV, FLAC, OGG or MP3"):
        decode_audio(encoded(np.zeros(100, np.int16), container, "PCM_16"))


@pytest.mark.parametrize(("container", "encoding"), [(c, e) for c, e, _ in CONTAINERS] + [(None, None)])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_hostile_bytes_only_raise_media_errors(container, encoding, data):
    if container is None:
        payload = data.draw(st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM"]))
        payload += data.draw(st.binary(max_size=300))
    else:
        mutated = bytearray(SAMPLES[container, encoding])
        for _ in range(data.draw(st.integers(1, 8))):
            mutated[data.draw(st.integers(0, min(len(mutated) - 1, 400)))] = data.draw(st.integers(0, 255))
        payload = bytes(mutated[: data.draw(st.integers(0, len(mutated)))] if data.draw(st.booleans()) else mutated)
    limits = MediaLimits(max_seconds=2)
    try:
        decoded = decode_audio(payload, limits)
    except MediaError:
        pass
    else:
        assert len(decoded.samples) > 0
        assert decoded.seconds <= 2 + 1 / decoded.sampling_rate
        assert np.isfinite(decoded.samples).all()
        # Whatever was decoded can be resampled for an encoder.
        assert np.isfinite(resample(decoded, RATE).samples).all()


SAMPLES = {(c, e): encoded(sound(0, seconds=0.2), c, e) for c, e, _ in CONTAINERS}


def test_resample():
    original = Sound(sound(0), RATE)
    assert resample(original, RATE) is original
    half = resample(original, 8_000)
    assert half.sampling_rate == 8_000
    assert len(half.samples) == len(original.samples) // 2
    assert half.samples.dtype == np.float32
    assert half.seconds == pytest.approx(original.seconds)
