"""Replacing values of a recipe by path."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ConfigurationError
from training.ablation.changes import changed

RECIPE: dict[str, Any] = {
    "modalities": {"image": {"projector": {"tokens": 4}}, "audio": {"projector": {"tokens": 4}}},
    "stages": [{"name": "a", "data": [1]}, {"name": "b"}],
    "seed": 0,
}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seed", 3, {**RECIPE, "seed": 3}),
        ("compile", True, {**RECIPE, "compile": True}),
        (
            "modalities.audio.projector.tokens",
            8,
            {**RECIPE, "modalities": {**RECIPE["modalities"], "audio": {"projector": {"tokens": 8}}}},
        ),
        (
            "modalities.*.projector",
            {"type": "linear"},
            {**RECIPE, "modalities": {name: {"projector": {"type": "linear"}} for name in ("image", "audio")}},
        ),
        ("stages.1.name", "c", {**RECIPE, "stages": [RECIPE["stages"][0], {"name": "c"}]}),
        ("stages.*.data", [], {**RECIPE, "stages": [{"name": "a", "data": []}, {"name": "b", "data": []}]}),
        ("stages.1", {}, {**RECIPE, "stages": [RECIPE["stages"][0], {}]}),
    ],
)
def test_a_value_is_replaced(path: str, value: Any, expected: dict[str, Any]) -> None:
    assert changed(RECIPE, {path: value}, where="sweep") == expected


def test_changes_are_made_in_their_order() -> None:
    first = {"modalities.*.projector": {"tokens": 1}, "modalities.image.projector.tokens": 2}
    then = dict(reversed(first.items()))
    assert changed(RECIPE, first, where="s")["modalities"]["image"]["projector"]["tokens"] == 2
    assert changed(RECIPE, then, where="s")["modalities"]["image"]["projector"]["tokens"] == 1


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("modalities.video.projector.tokens", "'video'"),
        ("stages.2.name", "'2'"),
        ("stages.2", "'2'"),
        ("stages.x", "'x'"),
        ("seed.x", "'x'"),
        ("modalities.*", "no path"),
        ("", "no path"),
        ("a..b", "no path"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        changed(RECIPE, {path: 1}, where="tokens.yaml: tokens 4")
    assert str(caught.value).startswith(f"tokens.yaml: tokens 4: {path!r}")


@given(st.text(alphabet="ab.*01", max_size=8), st.integers())
def test_the_original_never_changes(path: str, value: int) -> None:
    before = str(RECIPE)
    with suppress(ConfigurationError):
        changed(RECIPE, {path: value}, where="s")
    assert str(RECIPE) == before
