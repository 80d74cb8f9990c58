"""Log-mel features: the numbers of torchaudio's Kaldi front end, and of the one in transformers."""

import warnings

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from model.encoders.fbank import filters, log_mel
from tests.support.tiny import sound

# Every 12th frame and 16th band of torchaudio 2.11's kaldi.fbank(htk_compat=True, sample_frequency=16000,
# use_energy=False, window_type="hanning", num_mel_bins=128, dither=0.0) of `sound(5, seconds=0.5)`, [48, 128] in all.
TORCHAUDIO = [
    [-9.9391, -9.2871, -5.6479, -5.1235, -2.9579, -1.7505, -1.5493, -1.9772],
    [-10.3862, -7.0377, -8.3185, -5.3011, -2.9119, -2.9283, -0.4866, -1.0680],
    [-11.3481, -6.9925, -5.2300, -5.0091, -3.3940, -2.6802, -0.7606, -0.8677],
    [-9.8034, -9.1979, -7.1662, -5.5912, -2.5817, -2.0988, -0.9144, -1.3694],
]


def test_numbers_of_torchaudio():
    features = log_mel(sound(5, seconds=0.5), 128)
    assert features.shape == (48, 128)
    assert features.dtype == np.float32
    # torchaudio computes in float32.
    np.testing.assert_allclose(features[::12, ::16], TORCHAUDIO, atol=1e-3)


@pytest.mark.parametrize(("seconds", "bins"), [(0.025, 128), (0.5, 128), (2.0, 128), (1.0, 23)])
def test_same_as_the_kaldi_front_end_of_transformers(seconds, bins):
    """The settings are those of its feature extractor for the Audio Spectrogram Transformer."""
    samples = sound(3, seconds=seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of 128 bands are empty
        bank = mel_filter_bank(257, bins, 20, 8000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    np.testing.assert_allclose(filters(bins), bank, atol=1e-12)
    expected = spectrogram(
        samples,
        window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=bank,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    )
    np.testing.assert_allclose(log_mel(samples, bins), expected.T, atol=1e-3)


def test_silence_is_the_floor():
    np.testing.assert_allclose(log_mel(np.zeros(800, np.float32), 128), -15.9424, atol=1e-4)


def test_several_sounds_at_once():
    sounds = np.stack([sound(seed, seconds=0.3) for seed in range(3)])
    together = log_mel(sounds, 40)
    assert together.shape == (3, 28, 40)
    for one, features in zip(sounds, together, strict=True):
        np.testing.assert_array_equal(log_mel(one, 40), features)
