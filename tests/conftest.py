"""Settings and fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# Before anything imports torch or transformers: the machine is shared, and no test may need the hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint: Llama, CLIP, Whisper, 4 tokens a medium. Read-only: every test sees the same one."""
    from tests.support.tiny import build_checkpoint  # here, so that tests without it need not wait for torch

    return build_checkpoint(tmp_path_factory.mktemp("tiny"))
