"""Kaldi's log-mel filter bank features, as `torchaudio.compliance.kaldi.fbank` computes them without dither.

Frames of 25 ms every 10 ms, only whole ones; of each the mean is removed, pre-emphasis 0.97, symmetric Hann window,
power spectrum of 512 points, triangles on Kaldi's mel scale from 20 Hz to 8 kHz, logarithm. These are the settings that
AST and ImageBind were trained with (`htk_compat`, no energy, window `hanning`).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

SAMPLING_RATE = 16_000
FRAME, SHIFT, POINTS = 400, 160, 512
LOWEST_HZ = 20.0
PREEMPHASIS = 0.97
# Smallest energy before the logarithm: float32's epsilon.
FLOOR = float(np.finfo(np.float32).eps)


def log_mel(samples: npt.NDArray[np.float32], bins: int) -> npt.NDArray[np.float32]:
    """Features `[..., 1 + (n - 400) // 160, bins]` of sounds `[..., n]` at 16 kHz, `n` at least 400."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), FRAME, axis=-1)[..., ::SHIFT, :]
    centred = frames - frames.mean(axis=-1, keepdims=True)
    # The sample before the first is the first itself.
    before = np.concatenate([centred[..., :1], centred[..., :-1]], axis=-1)
    spectrum = np.fft.rfft((centred - PREEMPHASIS * before) * np.hanning(FRAME), POINTS)
    power = spectrum.real**2 + spectrum.imag**2
    return np.log(np.maximum(power @ filters(bins), FLOOR)).astype(np.float32)


@lru_cache(maxsize=4)
def filters(bins: int) -> npt.NDArray[np.float64]:
    """Weights `[257, bins]` of the power spectrum: triangles between neighbouring points, evenly spaced in mel.

    The lowest are narrower than the distance between two frequencies; some of them are empty, as Kaldi's are.
    """
    points = np.linspace(mel(LOWEST_HZ), mel(SAMPLING_RATE / 2), bins + 2)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    spectrum = mel(np.arange(POINTS // 2 + 1) * (SAMPLING_RATE / POINTS))[:, None]
    rising, falling = (spectrum - left) / (centre - left), (right - spectrum) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Kaldi's mel scale: 1127 ln(1 + f / 700 Hz)."""
    return 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)
