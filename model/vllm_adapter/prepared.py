"""What is prepared for the encoders is kept by key, so that a medium that comes again need not even be decoded.

Whoever hands a medium to the engine may give it a key (`Keyed`), under which all caches know it: this one of prepared
inputs, and the engine's of encoded media. Asked first, this cache says what it holds, and then that stands for the
medium. Such a stand-in carries what was held: should the cache lose it a moment later, nothing is missing.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from vllm.multimodal.cache.base import MultiModalProcessorOnlyCache

# The keyword arguments of `embed_multimodal` are `<modality>` + this.
INPUTS = "_inputs"


@dataclass(frozen=True, eq=False)
class Keyed:
    """A medium and its key; exactly one of `medium` and `prepared` is given."""

    key: str
    """Equal for equal media and nothing else, and never chosen by a client."""
    medium: Any = None
    """As the engine takes it without a key."""
    prepared: Tensor | None = None
    """What its encoder's `preprocess` gave before."""


class PreparedCache(MultiModalProcessorOnlyCache):
    """vLLM's cache of prepared inputs, which may also be asked from another thread than that which fills it."""

    def __init__(self, model_config: Any) -> None:
        super().__init__(model_config)
        self._lock = threading.Lock()
        self.lost: Callable[[], None] = lambda: None
        """Called when the engine may hold nothing of what it was sent."""

    def prepared(self, key: str, modality: str) -> Tensor | None:
        """What is held for a key; it counts as used just now, but not as a query of vLLM's statistics."""
        with self._lock:
            if key not in self._cache:
                return None
            held = self._cache.__getitem__(key, update_info=False)
        tensor: Tensor = held.item[f"{modality}{INPUTS}"].data
        return tensor

    def is_cached_item(self, mm_hash: str) -> bool:
        """Whether a key is held."""
        with self._lock:
            return super().is_cached_item(mm_hash)

    def get_and_update_item(self, mm_item: Any, mm_hash: str) -> Any:
        """What is held for a key, or the given item, which is held from now on."""
        with self._lock:
            return super().get_and_update_item(mm_item, mm_hash)

    def touch_sender_cache_item(self, mm_hash: str) -> None:
        """Count as used just now."""
        with self._lock:
            super().touch_sender_cache_item(mm_hash)

    def clear_cache(self) -> None:
        """Hold nothing; the engine is told the same."""
        with self._lock:
            super().clear_cache()
        self.lost()

    def invalidate(self, mm_hash: str) -> None:
        """The engine does not hold what it was expected to."""
        self.lost()
