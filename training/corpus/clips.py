"""Small tools of the sources that make sounds: mono float32 waves [samples] at 16 kHz, WAV bytes, augmentation.

All chance comes from the ``numpy`` generator that is passed in, so a clip is a function of its seed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wave = NDArray[np.float32]

RATE = 16_000


def read(data: bytes) -> Wave:
    """Decode any sound file libsndfile knows to mono at 16 kHz."""
    import soundfile
    import soxr

    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = wave.mean(axis=1)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE)
    return np.ascontiguousarray(mono, dtype=np.float32)


def wav(wave: Wave) -> bytes:
    """16-bit mono WAV bytes at 16 kHz; values beyond -1 to 1 are clipped."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1.0, 1.0), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def rms(wave: Wave) -> float:
    """Root mean square of a wave; 0 for an empty one."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if wave.size else 0.0


def trim(wave: Wave, *, floor: float = 0.01) -> Wave:
    """Cut what is quieter than ``floor`` times the peak from both ends, keeping 10 ms of it."""
    loud = np.flatnonzero(np.abs(wave) > floor * max(float(np.abs(wave).max(initial=0.0)), 1e-9))
    if not loud.size:
        return wave
    margin = RATE // 100
    return wave[max(0, loud[0] - margin) : loud[-1] + margin]


def normalise(wave: Wave, level: float) -> Wave:
    """Scale to root mean square ``level``, but never above a peak of 0.98."""
    scale = level / max(rms(wave), 1e-6)
    return (wave * min(scale, 0.98 / max(float(np.abs(wave).max(initial=0.0)), 1e-6))).astype(np.float32)


def stretch(wave: Wave, factor: float) -> Wave:
    """Play ``factor`` times as fast: shorter and higher, formants too, as from a smaller speaker."""
    import soxr

    return np.asarray(soxr.resample(wave, RATE * factor, RATE), dtype=np.float32)


def shape_spectrum(wave: Wave, low: float, high: float, tilt: float = 0.0) -> Wave:
    """Pass ``low`` to ``high`` Hz with soft edges; ``tilt`` in dB per octave around 1 kHz."""
    spectrum = np.fft.rfft(wave)
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    gain = 1 / (1 + (np.maximum(frequency, 1.0) / high) ** 16)
    gain *= 1 / (1 + (low / np.maximum(frequency, 1.0)) ** 6) if low > 0 else 1
    gain *= 10 ** (tilt * np.log2(np.clip(frequency, 100, 7000) / 1000) / 20)
    return np.fft.irfft(spectrum * gain, n=len(wave)).astype(np.float32)


def telephone(wave: Wave, rng: np.random.Generator) -> Wave:
    """As through a telephone: nothing above 3.4 to 4 kHz, often nothing below 300 Hz, sometimes 8-bit mu-law steps."""
    low = float(rng.uniform(150, 350)) if rng.random() < 0.5 else 0.0
    wave = shape_spectrum(wave, low, float(rng.uniform(3300, 3900)))
    if rng.random() < 0.5:
        peak = max(float(np.abs(wave).max()), 1e-6)
        folded = np.sign(wave) * np.log1p(255 * np.abs(wave / peak)) / np.log(256)
        folded = np.round(folded * 127) / 127
        wave = (np.sign(folded) * np.expm1(np.abs(folded) * np.log(256)) / 255 * peak).astype(np.float32)
    return wave


def reverb(wave: Wave, rng: np.random.Generator) -> Wave:
    """A small room: decaying noise of 0.08 to 0.3 s as impulse response, mixed in softly."""
    length = int(rng.uniform(0.08, 0.3) * RATE)
    tail = rng.normal(0, 1, length) * np.exp(-6 * np.arange(length) / length)
    tail *= rng.uniform(0.15, 0.45) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = len(wave) + length
    mixed = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), n=size)
    return mixed[: len(wave) + length // 2].astype(np.float32)


def noise(rng: np.random.Generator, size: int) -> Wave:
    """Noise of root mean square 1: white, or falling with frequency as in a room, or with mains hum."""
    wave = rng.normal(0, 1, size).astype(np.float32)
    kind = rng.random()
    if kind < 0.45:
        wave = shape_spectrum(wave, 0.0, 7900.0, tilt=float(rng.uniform(-6, -2)))
    elif kind < 0.55:
        time = np.arange(size) / RATE
        wave += (2 * np.sin(2 * np.pi * float(rng.choice([50, 60])) * time + rng.uniform(0, 6))).astype(np.float32)
    return wave / max(rms(wave), 1e-6)


def pad(wave: Wave, rng: np.random.Generator, most: float = 0.25) -> Wave:
    """Silence of 0 to ``most`` seconds on either side; one clip in three is cut tightly instead."""
    if rng.random() < 1 / 3:
        return wave
    before, after = (int(rng.uniform(0, most) * RATE) for _ in range(2))
    return np.pad(wave, (before, after))


def augment(wave: Wave, rng: np.random.Generator, *, snr: tuple[float, float] = (15.0, 40.0)) -> Wave:
    """Another microphone, room and line: tilt, reverb, silence around, noise at ``snr`` dB, telephone band, gain."""
    level = float(np.exp(rng.uniform(np.log(0.03), np.log(0.16))))
    if rng.random() < 0.5:
        wave = shape_spectrum(wave, float(rng.uniform(0, 120)), 7800.0, tilt=float(rng.uniform(-3, 3)))
    if rng.random() < 0.3:
        wave = reverb(wave, rng)
    loudness = rms(wave)
    wave = pad(wave, rng)
    if rng.random() < 0.75:
        wave = wave + noise(rng, len(wave)) * np.float32(loudness / 10 ** (rng.uniform(*snr) / 20))
    if rng.random() < 0.4:
        wave = telephone(wave, rng)
    return normalise(wave, level)
