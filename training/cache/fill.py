"""Fills a feature cache: claims media, decodes them in threads ahead of the encoder, streams features into shards.

Threads, not processes: decoding, resizing and resampling release Python's lock, and tensors need not be sent around.
Memory holds two windows of preprocessed media and the features of one, never a shard.
"""

import errno
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

from model.encoders import encode
from model.errors import DataError
from training.cache.claims import Claims
from training.cache.features import prepare_medium
from training.cache.shards import ShardWriter

if TYPE_CHECKING:
    from training.cache.store import FeatureCache

# A shard ends when it has this many bytes of features, or after this many seconds: a crash costs no more than that.
SHARD_BYTES, SHARD_SECONDS = 256 << 20, 60.0
# Media decoded before they are encoded together: enough to find sounds of equal length, and at most so many that their
# features in float32 take this part of a shard.
WINDOW, WINDOW_PART = 32, 8
# Media claimed at a time: this part of what is left, so that runs end together, and not more than so many.
SHARE, CLAIM = 4, 512
# Threads that decode and preprocess: one per core that this process may use, as far as Python's lock lets them.
WORKERS = min(8, len(os.sched_getaffinity(0)))
# Seconds between two looks at what other runs have done.
POLL = 0.2
# What a disk that takes no more bytes says: full, over quota, or over the limit of a file's size.
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Prepared = tuple[str, "Future[Tensor]"]


class Fill:
    """One run of the encoder over the media that a cache lacks.

    Args:
        cache: receives the shards.
        todo: sha256 of each medium -> a file with this content.
        encoder: builds the encoder, in evaluation mode.
        workers: threads that decode and preprocess.
        batch: most media in one forward pass.
    """

    def __init__(
        self,
        cache: "FeatureCache",
        todo: Mapping[str, Path],
        encoder: Callable[[], nn.Module],
        workers: int,
        batch: int,
    ) -> None:
        self.cache, self.config, self.todo = cache, cache.config, todo
        self.encoder, self.workers, self.batch = encoder, workers, batch
        self.unusable: dict[str, str] = {}
        """sha256 of media that cannot be encoded, and why."""
        # Large files first, so that what does not fit into memory shows at once; sounds of one length come together.
        self._queue = deque(sorted(todo, key=lambda digest: (-_size(todo[digest]), digest)))
        self._encoded: set[str] = set()
        self._module: nn.Module | None = None
        self._writer: ShardWriter | None = None
        self._opened = 0.0
        # Bytes of one medium's features in float32; where their length is not fixed, a guess until some were seen.
        self._row_bytes = 4 * self.config.dim * (self.config.length or 1024)

    def run(self) -> int:
        """Encode until nothing is missing, by this run or another; returns how many media this run has encoded.

        Raises:
            DataError: no space on the disk.
        """
        self._check_space()
        try:
            return self._run()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise DataError(
                f"{self.cache.folder}: no space left for features ({os.strerror(error.errno)}); "
                f"{len(self.cache)} media are cached and stay so; {ADVICE}"
            ) from None

    def _run(self) -> int:
        with (
            Claims(self.cache.folder) as claims,
            ThreadPoolExecutor(self.workers) as pool,
            tqdm(total=len(self.todo), desc=f"encode {self.config.modality}", unit="media") as bar,
        ):
            self._claims, self._bar = claims, bar
            pending: deque[list[Prepared]] = deque()
            try:
                for window in self._windows(pending):
                    pending.append([(digest, pool.submit(self._prepare, digest)) for digest in window])
                    # One window is always being decoded while another is being encoded.
                    if len(pending) > 1:
                        self._encode(pending.popleft())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                self._rescue()
                raise
        return len(self._encoded)

    def _windows(self, pending: deque[list[Prepared]]) -> Iterator[list[str]]:
        """Lists of media to encode, until nothing is missing any more."""
        while True:
            taken, others = self._claims.take(self._left, self._most())
            size = max(1, min(WINDOW, SHARD_BYTES // (WINDOW_PART * self._row_bytes)))
            yield from (taken[start : start + size] for start in range(0, len(taken), size))
            if taken:
                continue
            while pending:
                self._encode(pending.popleft())
            self._publish()
            if not others:
                return
            self._bar.set_postfix_str(f"{others} in another run")
            time.sleep(POLL)

    def _left(self) -> Iterator[str]:
        """What is neither cached nor found to be unusable, after a look at what other runs have published."""
        self._refresh()
        while self._queue and self._done(self._queue[0]):
            self._queue.popleft()
        return (digest for digest in self._queue if not self._done(digest))

    def _done(self, digest: str) -> bool:
        return digest in self.cache or digest in self.unusable

    def _refresh(self) -> None:
        self._bar.update(sum(d in self.todo and d not in self._encoded for d in self.cache.refresh()))

    def _most(self) -> int:
        """Media to take: not more than fill a shard."""
        share = max(WINDOW, math.ceil((len(self.todo) - self._bar.n) / SHARE))
        return max(1, min(CLAIM, share, SHARD_BYTES * 2 // self._row_bytes))

    def _prepare(self, digest: str) -> Tensor:
        return prepare_medium(self.config, self.todo[digest])

    def _encode(self, window: list[Prepared]) -> None:
        digests: list[str] = []
        inputs: list[Tensor] = []
        for digest, future in window:
            try:
                inputs.append(future.result())
                digests.append(digest)
            except DataError as error:
                self._reject(digest, str(error).removeprefix(f"{self.todo[digest]}: "))
        if not inputs:
            return
        if self._module is None:
            self._module = self.encoder()
        with torch.inference_mode():
            features = encode(self._module, inputs, self.batch)
        for index, digest in enumerate(digests):
            # One after the other, so that no second copy of the window exists.
            self._add(digest, features[index].half().cpu())

    def _add(self, digest: str, features: Tensor) -> None:
        length, dim = self.config.length, self.config.dim
        if features.dim() != 2 or features.shape[1] != dim or length not in (None, len(features)):
            raise DataError(
                f"the {self.config.family} encoder gives features {list(features.shape)}, "
                f"its configuration says [{length or 'length'}, {dim}]"
            )
        if not features.isfinite().all():
            self._reject(digest, "the encoder gives features that are not finite in float16")
            return
        if self._writer is None:
            self._writer = ShardWriter(self._claims.partial(), self.cache.name, dim)
            self._opened = time.monotonic()
        self._writer.add(digest, features)
        if length is None:
            self._row_bytes = max(self._row_bytes if self._encoded else 0, 2 * features.nbytes)
        self._encoded.add(digest)
        self._bar.update()
        if self._writer.size >= SHARD_BYTES or time.monotonic() - self._opened > SHARD_SECONDS:
            self._publish()

    def _reject(self, digest: str, reason: str) -> None:
        self.unusable[digest] = reason
        self._bar.update()

    def _publish(self) -> None:
        """Let the shard appear, then let go of its media; and of those that are unusable."""
        published: list[str] = []
        if self._writer is not None:
            self._writer.publish()
            published, self._writer = self._writer.digests, None
            self._refresh()
        self._claims.release([*published, *self.unusable])

    def _rescue(self) -> None:
        """Keep what was encoded before something ended the run, if the disk still takes it."""
        writer = self._writer
        try:
            self._publish()
        except OSError:
            if writer is not None:
                writer.discard()

    def _check_space(self) -> None:
        """Refuse at once what cannot fit; lengths that are not known in advance show later.

        Raises:
            DataError: the disk has not enough space.
        """
        if self.config.length is None:
            return
        needed = len(self.todo) * self.config.length * self.config.dim * 2
        free = shutil.disk_usage(self.cache.folder).free
        if needed > free:
            raise DataError(
                f"{self.cache.folder}: the features of {len(self.todo)} {self.config.modality} media take "
                f"{_mebibytes(needed)}, {_mebibytes(free)} are free; {ADVICE}"
            )


ADVICE = "make space (`quartet data cache --prune`), or let QUARTET_CACHE name a folder on a larger disk"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # Whoever decodes it says what is wrong.
        return 0
