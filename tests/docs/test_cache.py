"""Runs what docs/cache.md says, and compares its tables with the code."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from model.cli import main
from tests.docs.markdown import ROOT, blocks
from tests.training.parts import recipe_values, write_corpus, write_parts, write_recipe
from training.cache import OnTheFly
from training.parts import feature_folder
from training.recipe import read_recipe

DOCUMENT = "docs/cache.md"
SHELL = [block for block in blocks(DOCUMENT) if block.language == "sh"]
(OUTPUT,) = (block for block in blocks(DOCUMENT) if block.language == "text")
(PYTHON,) = (block for block in blocks(DOCUMENT) if block.language == "python")


def run(words: list[str]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code in (0, None), " ".join(words)
    return output.getvalue()


def shape(text: str) -> list[str]:
    """Lines without what differs from one set of random weights to another."""
    return [re.sub(r"[0-9a-f]{12,16}", "HASH", line).rstrip() for line in text.strip().splitlines()]


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    recipe = read_recipe(write_recipe(tmp_path / "recipe.yaml", recipe_values(write_parts(tmp_path))))
    corpus = write_corpus(tmp_path / "corpus")
    commands = [words for block in SHELL for words in block.commands]
    assert all(words[:3] == ["quartet", "data", "cache"] for words in commands)
    shown = [run(words[1:]) for words in commands]
    assert shape(shown[0]) == shape(OUTPUT.text)
    names: dict[str, object] = {"recipe": recipe, "corpus": corpus}
    exec(compile(PYTHON.text, DOCUMENT, "exec"), names)
    assert isinstance(names["parts"].caches["image"], OnTheFly)  # type: ignore[attr-defined]
    table = re.findall(r"^\| `(\w+)` \| (\w+) `\[([^`]*)\]` \|", (ROOT / DOCUMENT).read_text(), re.M)
    path = next(feature_folder().glob("*/shard-*"))
    with safe_open(path, framework="np") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    assert {name: (str(tensor.dtype), tensor.ndim) for name, tensor in found.items()} == {
        name: (dtype, len(axes.split(","))) for name, dtype, axes in table
    }
