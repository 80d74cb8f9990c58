"""Runs that fill one cache at the same time share the work: each takes media that no other run is working on.

    <encoder>/runs/lock          held for moments, while work is handed out
    <encoder>/runs/<run>.lock    held by a run for as long as it lives; the system lets go of it however the run ends
    <encoder>/runs/<run>.json    sha256 of the media that this run has taken and not yet published
    <encoder>/.partial-<run>-N   the shard it is writing

A run whose lock can be had is dead, and whatever it left is cleaned up and handed out again.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

PARTIAL = ".partial-"
RUNS, LOCK = "runs", "lock"


class Claims:
    """One run's part of the work on one encoder; a context in which the run counts as alive.

    Args:
        folder: the encoder's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / RUNS
        self.run = token_hex(8)
        self._mine: set[str] = set()
        self._shards = 0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / LOCK)
        self._alive = FileLock(self._file("lock"))

    def __enter__(self) -> Self:
        # Under the lock, or else another run could find this one's lock file before it is held and think it dead.
        with self._lock:
            self._alive.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._file("json").unlink(missing_ok=True)
            self._file("lock").unlink(missing_ok=True)
            self._alive.release()

    def take(self, missing: Callable[[], Iterable[str]], most: int) -> tuple[list[str], int]:
        """Take some of the media that are to be encoded.

        Args:
            missing: gives what is not cached yet, in the order in which it is to be encoded.
            most: media to take at most.

        Returns:
            The sha256 of what was taken; and if that is nothing, how many media are in the hands of other runs.
        """
        with self._lock:
            # Before `missing` looks: another run lets go of its media only after it has published them.
            others = {digest for path in self._others() for digest in _read(path)}
            taken: list[str] = []
            elsewhere = 0
            for digest in missing():
                if digest in others:
                    elsewhere += 1
                elif digest not in self._mine:
                    taken.append(digest)
                    if len(taken) == most:
                        break
            if taken:
                self._mine.update(taken)
                self._record()
            return taken, elsewhere

    def release(self, digests: Iterable[str]) -> None:
        """Let go of media: they are published, or cannot be encoded."""
        before = len(self._mine)
        self._mine.difference_update(digests)
        if len(self._mine) < before:
            self._record()

    def partial(self) -> Path:
        """A new name for a shard that is being written."""
        self._shards += 1
        return self.folder.parent / f"{PARTIAL}{self.run}-{self._shards}"

    def _record(self) -> None:
        temporary = self._file("new")
        temporary.write_text(json.dumps(sorted(self._mine)))
        temporary.replace(self._file("json"))

    def _file(self, suffix: str) -> Path:
        return self.folder / f"{self.run}.{suffix}"

    def _others(self) -> Iterator[Path]:
        """Claims of the other runs that are alive."""
        for path in _living(self.folder.parent, besides=self.run):
            yield path.with_suffix(".json")


def clean(folder: Path) -> int:
    """Remove what dead runs left in an encoder's folder; returns how many runs are filling it now."""
    if not (folder / RUNS).is_dir():
        return 0
    with FileLock(folder / RUNS / LOCK):
        alive = {path.stem for path in _living(folder)}
        for partial in folder.glob(f"{PARTIAL}*"):
            if partial.name.removeprefix(PARTIAL).partition("-")[0] not in alive:
                partial.unlink(missing_ok=True)
        return len(alive)


def _living(folder: Path, *, besides: str = "") -> list[Path]:
    """Lock files of the runs that are alive; what dead ones left is removed. Only under the folder's lock."""
    alive: list[Path] = []
    for path in sorted((folder / RUNS).glob("*.lock")):
        if path.stem == besides:
            continue
        lock = FileLock(path)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            alive.append(path)
            continue
        for left in (*folder.glob(f"{PARTIAL}{path.stem}-*"), *(folder / RUNS).glob(f"{path.stem}.*")):
            left.unlink(missing_ok=True)
        lock.release()
    return alive


def _read(path: Path) -> list[str]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        # It has taken nothing yet. At worst something is encoded twice.
        return []
    return values if isinstance(values, list) else []
