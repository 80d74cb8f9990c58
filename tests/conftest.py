"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

from tests.support.tiny import build_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint: Llama, CLIP, Whisper, 4 tokens a medium. Read-only: every test sees the same one."""
    return build_checkpoint(tmp_path_factory.mktemp("tiny"))
