"""The small world, made once."""

from pathlib import Path

import pytest

from tests.training.synthesis.parts import world


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of annotated media. Read-only."""
    return world(tmp_path_factory.mktemp("world") / "toys")
