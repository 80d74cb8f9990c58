"""What `dtype: auto` comes to, with and without an accelerator and instructions for bfloat16."""

from pathlib import Path

import pytest
import torch

from training import precision
from training.recipe import read_recipe


@pytest.mark.parametrize("dtype", precision.DTYPES)
def test_what_a_recipe_names_stays(dtype: str) -> None:
    assert precision.resolve(dtype) == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_is_asked_as_torch_asks_it(monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: fast)
    assert precision.resolve("auto") == dtype


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_an_accelerator_that_only_emulates_it_is_not_fast(
    monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or fast)
    assert precision.resolve("auto") == dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_recipe_that_is_read_says_what_it_is_computed_in(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr("training.recipe.resolve", {"auto": dtype}.__getitem__)
    assert read_recipe(Path("demo")).dtype == dtype
