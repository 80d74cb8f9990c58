import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from server import demo


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that were run instead of running them; the first one fails."""
    made: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        made.append(command)
        return SimpleNamespace(returncode=1 if len(made) == 1 else 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    return made


def test_parts_are_fetched_once_and_again_when_the_model_changes(calls: list[list[str]], tmp_path: Path) -> None:
    model, console = tmp_path / "model", Console()
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert not demo.fetch(model, console)
    assert demo.fetch(model, console)
    assert demo.fetch(model, console)
    assert len(calls) == 2
    assert calls[1][1:] == ["-m", "model.cli", "fetch", str(model)]
    (model / "config.json").write_text("{ }")
    assert demo.fetch(model, console)
    assert len(calls) == 3


def test_examples_are_there_with_their_licence() -> None:
    readme = (demo.EXAMPLES / "README.md").read_text()
    files = [path.name for path in demo.EXAMPLES.iterdir() if path.suffix != ".md"]
    assert sorted(files) == ["cat.png", "seven.wav"]
    for name in files:
        assert f"`{name}`" in readme
