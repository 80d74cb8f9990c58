"""Scenes: what the labels say is what the pixels show."""

from __future__ import annotations

import colorsys
import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.corpus import pictures, samples, scenes
from training.corpus.registry import Context, Plan


@pytest.fixture(scope="module")
def plan() -> Plan:
    return scenes.plan(Context(output=Path(), cache=Path()))


def some(
    plan: Plan, task: str, count: int = 24, split: str = "train"
) -> list[tuple[samples.Sample, dict[str, object]]]:
    values = [value for value in getattr(plan, split) if value["meta"]["task"] == task]
    picked = random.Random(0).sample(values, count)
    return [(value, plan.jobs[samples.media(value)[0].removeprefix("media/")].arguments) for value in picked]


def pixels(arguments: dict[str, object]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(scenes.render(**arguments))).convert("RGB"), dtype=np.float32)  # type: ignore[arg-type]


def nearest_colour(rgb: np.ndarray) -> str:
    """The palette colour of the nearest hue, or black or white."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(rgb / 255))
    if value < 0.25:
        return "black"
    if saturation < 0.15:
        return "white"
    hues = {
        name: colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))[0]
        for name, (_, colour) in scenes.COLOURS.items()
        if name not in ("black", "white")
    }
    return min(hues, key=lambda name: min(abs(hues[name] - hue), 1 - abs(hues[name] - hue)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_colour_is_that_of_the_object(plan: Plan, split: str) -> None:
    for value, arguments in some(plan, "scenes/colour", split=split):
        picture = pixels(arguments)
        x, y = (int(share * len(picture)) for share in arguments["centres"][0])  # type: ignore[index]
        assert nearest_colour(np.median(picture[y - 2 : y + 3, x - 2 : x + 3], axis=(0, 1))) == value["meta"]["label"]


def test_position_is_where_the_object_is(plan: Plan) -> None:
    for value, arguments in some(plan, "scenes/position"):
        x, y = arguments["centres"][0]  # type: ignore[index]
        horizontal = "left" if x < 0.36 else "right" if x > 0.64 else None
        vertical = "top" if y < 0.36 else "bottom" if y > 0.64 else None
        assert value["meta"]["label"] == (horizontal or vertical or "centre")
        assert not (horizontal and vertical)


def test_count_is_the_number_of_separate_objects(plan: Plan) -> None:
    from scipy.ndimage import label

    numbers = {words[0]: number for number, words in scenes.NUMBERS.items()}
    for value, arguments in some(plan, "scenes/count"):
        picture = pixels(arguments)
        x, y = (int(share * len(picture)) for share in arguments["centres"][0])  # type: ignore[index]
        near = np.linalg.norm(picture - np.median(picture[y - 1 : y + 2, x - 1 : x + 2], axis=(0, 1)), axis=-1) < 40
        regions, found = label(near)
        large = sum((regions == region).sum() > 60 for region in range(1, found + 1))
        assert large == numbers[value["meta"]["label"]]


def test_outlines_lie_in_their_circle_and_fill_much_of_it() -> None:
    areas = {}
    for shape in scenes.SHAPES:
        points = np.array(scenes.outline(shape))
        assert np.abs(points).max() <= 1.2
        x, y = points.T
        areas[shape] = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    assert areas["circle"] == pytest.approx(np.pi, rel=0.01)
    assert all(1.0 < area < areas["circle"] for shape, area in areas.items() if shape != "circle")
    with pytest.raises(ValueError, match="'blob' is unknown; choose from circle"):
        scenes.outline("blob")


def test_descriptions() -> None:
    assert scenes.describe("circle", "red", None, 1) == ("a red circle", "bulatan merah")
    assert scenes.describe("star", "orange", "left", 1) == ("an orange star on the left", "bintang jingga di kiri")
    assert scenes.describe("cross", "blue", None, 3) == ("three blue crosses", "tiga palang biru")


def test_classes_are_balanced_and_both_languages_occur(plan: Plan) -> None:
    for task in ("shape", "colour", "position", "count"):
        labels = [value["meta"]["label"] for value in plan.train if value["meta"]["task"] == f"scenes/{task}"]
        counts = [labels.count(name) for name in set(labels)]
        assert max(counts) < 1.35 * min(counts)
        for split in (plan.train, plan.test):
            assert {v["meta"]["language"] for v in split if v["meta"]["task"] == f"scenes/{task}"} == {"en", "ms"}


def test_splits_differ_in_background() -> None:
    assert set(pictures.BACKGROUNDS["test"]) - set(pictures.BACKGROUNDS["train"])
    with pytest.raises(ValueError, match="'brick' is no background"):
        pictures.background(np.random.default_rng(0), 32, "brick", (0, 0, 0))
