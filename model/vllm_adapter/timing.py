"""How long encoders take, told to whoever watches; costs nothing while nobody does.

On a GPU a call returns when its work is queued. The time is then that between two events on the GPU's own
stream, read after it has passed them: nothing waits for a measurement, which is told one step later.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Watcher = Callable[[str, int, float], None]
"""Takes modality, number of media and seconds of one step of the engine."""

_watchers: list[Watcher] = []


def watch_encoders(watcher: Watcher) -> None:
    """Tell `watcher` of every batch from now on; giving it again changes nothing."""
    if watcher not in _watchers:
        _watchers.append(watcher)


def forget_encoders(watcher: Watcher) -> None:
    """Tell `watcher` nothing any more."""
    _watchers.remove(watcher)


class Timing:
    """Measures the batches of one modality."""

    def __init__(self, modality: str) -> None:
        self._modality = modality
        self._open: deque[tuple[Any, Any, int]] = deque()

    @contextmanager
    def batch(self, media: int, device: torch.device) -> Iterator[None]:
        """Measure what happens inside; a batch that fails is not told."""
        if not _watchers:
            yield
            return
        if device.type != "cuda":
            started = time.perf_counter()
            yield
            self._tell(media, time.perf_counter() - started)
            return
        self.settle()
        with torch.cuda.device(device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
        self._open.append((begin, end, media))

    def settle(self) -> None:
        """Tell of the batches that the GPU has finished; does not wait for any."""
        while self._open and self._open[0][1].query():
            begin, end, media = self._open.popleft()
            self._tell(media, begin.elapsed_time(end) / 1000)

    def _tell(self, media: int, seconds: float) -> None:
        for watcher in _watchers:
            watcher(self._modality, media, seconds)
