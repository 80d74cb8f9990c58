"""A cache of a toy encoder, and pictures for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.cache.toys import ToyConfig, draw_many
from training.cache import FeatureCache
from training.data import MediaRef

Make = Callable[..., FeatureCache]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Opens the cache anew, as another process would."""

    def build(config: ToyConfig | None = None, sha256: str = "0" * 64, *, repair: bool = False) -> FeatureCache:
        return FeatureCache(tmp_path / "features", config or ToyConfig(), sha256, repair=repair)

    return build


@pytest.fixture
def pictures(tmp_path: Path) -> list[MediaRef]:
    return draw_many(tmp_path / "media", 7)
