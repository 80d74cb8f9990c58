"""Frozen parts, a corpus and a private cache for the tests of training."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tqdm import tqdm

if TYPE_CHECKING:
    from tests.training.parts import Change
    from training.recipe import Recipe

# By default a semaphore that forked processes share: one that a test kills while it draws its progress keeps it for
# ever, and every other process that wants to draw waits.
tqdm.set_lock(threading.RLock())


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny frozen parts: `llm/`, `image.safetensors` (CLIP), `audio.safetensors` (Whisper). Read-only."""
    from tests.training.parts import write_parts

    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def recipe_of(parts: Path) -> Callable[..., "Recipe"]:
    """The tiny recipe, changed."""
    from tests.training.parts import recipe_values, write_recipe
    from training.recipe import read_recipe

    number = iter(range(1000))

    def build(change: "Change" = lambda values: None) -> "Recipe":
        values = recipe_values(parts)
        change(values)
        return read_recipe(write_recipe(parts / f"{next(number)}.yaml", values))

    return build


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources `scenes`, `tones` and `dialogs`. Read-only."""
    from tests.training.parts import write_corpus

    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quartet-cache")


@pytest.fixture
def own_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of these tests alone, shared by them: everything in it is named by content."""
    monkeypatch.setenv("QUARTET_CACHE", str(shared_cache))
    return shared_cache
