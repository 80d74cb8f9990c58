"""Augmentations change a medium by chance, within their bounds, and never its kind."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import ConfigurationError
from model.media import Sound
from tests.support.tiny import picture, sound
from training.augment import (
    AUGMENTATIONS,
    SHEET,
    SPEED,
    augmentation,
    crop,
    echo,
    gain,
    mirror,
    noise,
    soften,
    speed,
    surround,
    telephone,
    tint,
)


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


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 60), height=st.integers(1, 60), seed=st.integers(0, 1 << 32))
def test_a_sheet_holds_the_whole_picture(width: int, height: int, seed: int) -> None:
    original = picture(5, (width, height))
    sheet = surround(original, random.Random(seed))
    assert width <= sheet.width <= round(width * SHEET[1])
    assert height <= sheet.height <= round(height * SHEET[1])
    wanted, found = np.asarray(original), np.asarray(sheet)
    places = [
        (top, left) for top in range(sheet.height - height + 1) for left in range(sheet.width - width + 1)
        if np.array_equal(found[top : top + height, left : left + width], wanted)
    ]  # fmt: skip
    assert places
    for top, left in places[:1]:
        rest = np.ones(found.shape[:2], dtype=bool)
        rest[top : top + height, left : left + width] = False
        assert len(np.unique(found[rest], axis=0)) <= 1, "the sheet has one colour"


def test_colours_and_details_change_and_the_size_does_not() -> None:
    original = picture(6, (40, 30))
    pixels = np.asarray(original).astype(float)
    for seed in range(10):
        for change in (tint, soften):
            changed = change(original, random.Random(seed))
            assert (changed.size, changed.mode) == (original.size, "RGB")
            assert not np.array_equal(np.asarray(changed), pixels)
        softened = np.asarray(soften(original, random.Random(seed))).astype(float)
        assert np.abs(np.diff(softened, axis=0)).mean() < np.abs(np.diff(pixels, axis=0)).mean()


def test_a_telephone_leaves_out_what_is_high_every_other_time() -> None:
    rate = 16_000
    time = np.arange(rate) / rate
    original = Sound(sum(np.sin(2 * np.pi * f * time) for f in (1_000, 6_000)).astype(np.float32) / 3, rate)
    cut = 0
    for seed in range(100):
        heard = telephone(original, random.Random(seed))
        assert (len(heard.samples), heard.sampling_rate) == (rate, rate)
        spectrum = np.abs(np.fft.rfft(heard.samples))
        assert spectrum[1_000] > 1_000
        cut += bool(spectrum[6_000] < 0.01 * spectrum[1_000])
    assert 30 < cut < 70
    narrow = Sound(original.samples, 8_000)
    assert telephone(narrow, random.Random(0)) is narrow


def test_an_echo_follows_the_sound() -> None:
    click = np.zeros(16_000, dtype=np.float32)
    click[4_000] = 1.0
    heard = echo(Sound(click, 16_000), random.Random(1)).samples
    assert len(heard) == len(click)
    assert np.abs(heard[:4_000]).max() < 1e-6, "nothing is heard before"
    behind = heard[4_001:]
    assert np.square(behind[:800]).sum() > 10 * np.square(behind[-800:]).sum(), "and it fades"


def test_a_tape_runs_faster_or_slower() -> None:
    original = Sound(sound(7), 16_000)
    lengths = [len(speed(original, random.Random(seed)).samples) / len(original.samples) for seed in range(30)]
    assert min(lengths) < 0.95 < 1.05 < max(lengths)
    assert 1 / SPEED[1] - 0.01 < min(lengths)
    assert max(lengths) < 1 / SPEED[0] + 0.01


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
    assert not augmentation("audio", list(AUGMENTATIONS["audio"]))(silence, random.Random(0)).samples.any()


def test_the_same_random_numbers_give_the_same_medium() -> None:
    change = augmentation("image", list(AUGMENTATIONS["image"]))
    first, second, other = (np.asarray(change(picture(4), random.Random(seed))) for seed in (7, 7, 8))
    assert np.array_equal(first, second)
    assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("modality", "names", "message"),
    [
        ("image", ["crop", "noise"], "augment: 'noise' is none of crop, mirror, tint, surround, soften for image"),
        ("touch", ["crop"], "augment"),
    ],
)
def test_unknown_names_are_refused(modality: str, names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        augmentation(modality, names)
