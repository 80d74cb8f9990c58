"""Augmentations change a medium by chance, within their bounds, and never its kind."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigurationError
from model.media import Sound
from tests.support.tiny import picture, sound
from training.augment import AUGMENTATIONS, augmentation, crop, gain, mirror, noise


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), seed=st.integers(0, 1 << 32))
def test_a_crop_keeps_half_of_the_picture(width: int, height: int, seed: int) -> None:
    cut = crop(picture(1, (width, height)), random.Random(seed))
    assert 1 <= cut.width <= width
    assert 1 <= cut.height <= height
    # Sides are rounded to pixels.
    assert (cut.width + 1) * (cut.height + 1) >= 0.5 * width * height


def test_pictures_are_mirrored_every_other_time() -> None:
    original = picture(2)
    found = [np.asarray(mirror(original, random.Random(seed))) for seed in range(200)]
    turned = sum(np.array_equal(pixels, np.asarray(original)[:, ::-1]) for pixels in found)
    same = sum(np.array_equal(pixels, np.asarray(original)) for pixels in found)
    assert turned + same == 200
    assert 70 < turned < 130


def test_sounds_keep_their_length_and_their_rate() -> None:
    original = Sound(sound(3), 16_000)
    for seed in range(20):
        louder, noisy = gain(original, random.Random(seed)), noise(original, random.Random(seed))
        ratio = np.sqrt(np.mean(louder.samples**2) / np.mean(original.samples**2))
        assert 10 ** (-6 / 20) - 1e-3 <= ratio <= 10 ** (6 / 20) + 1e-3
        rest = noisy.samples - original.samples
        decibels = 10 * np.log10(np.mean(original.samples**2) / np.mean(rest**2))
        assert 14.5 < decibels < 40.5
        for changed in (louder, noisy):
            assert changed.samples.dtype == np.float32
            assert (len(changed.samples), changed.sampling_rate) == (len(original.samples), 16_000)
            assert np.abs(changed.samples - original.samples).max() > 0


def test_silence_stays_silent() -> None:
    silence = Sound(np.zeros(100, dtype=np.float32), 8_000)
    assert not augmentation("audio", ["gain", "noise"])(silence, random.Random(0)).samples.any()


def test_the_same_random_numbers_give_the_same_medium() -> None:
    change = augmentation("image", list(AUGMENTATIONS["image"]))
    first, second, other = (np.asarray(change(picture(4), random.Random(seed))) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("modality", "names", "message"),
    [
        ("image", ["crop", "noise"], "augment: 'noise' is none of crop, mirror for image"),
        ("touch", ["crop"], "augment"),
    ],
)
def test_unknown_names_are_refused(modality: str, names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        augmentation(modality, names)
