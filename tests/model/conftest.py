"""Fixtures of the model tests: one tiny checkpoint for all of them, and a cache of its own for each test."""

import shutil
from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from tests.support.tiny import build_checkpoint


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny checkpoint (Llama, CLIP, Whisper, 4 tokens); read-only."""
    return build_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def shared(shared_directory: Path) -> Checkpoint:
    """That checkpoint, opened."""
    return Checkpoint.open(shared_directory)


@pytest.fixture(scope="session")
def reference(shared: Checkpoint) -> QuartetForConditionalGeneration:
    """Its reference model, float32."""
    return shared.load()


@pytest.fixture(scope="session")
def prompt(shared: Checkpoint) -> Prompt:
    """Its prompt."""
    return Prompt(shared.tokenizer(), shared.config)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for this test."""
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def copied(tmp_path, shared_directory):
    """A copy of the shared checkpoint and its parts that a test may damage."""
    shutil.copytree(shared_directory.parent, tmp_path / "copy")
    return tmp_path / "copy/checkpoint"
