"""A bounded number of decoding processes, and of media that wait for one.

Each process has one thread of the server, which hands it a medium and waits for the answer; the event loop never does.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from queue import SimpleQueue

from PIL import Image

from model.errors import MediaError
from model.media import MediaLimits, Sound
from model.sight import Sight
from server.errors import ApiError, RefusedError
from server.media.encoded import Encoded
from server.media.limits import model_sight
from server.media.process import DecodingProcess, StalledError
from server.settings import current

logger = logging.getLogger("server.media")

MEBIBYTE = 1 << 20
# Beyond a few, it is the engine that everybody waits for.
MOST_BY_DEFAULT = 4
# How much longer than its processor time a medium may take while the machine has other things to do.
PATIENCE = 10.0
RETRY_AFTER = 2.0
CODE = "media_overloaded"


class DecodePool:
    """Decodes media in processes of its own.

    Args:
        workers: processes; by default one a core, four at most.
        waiting: media that may wait for one of them.
        seconds: processor time of one medium; each MiB of its file gives it half a second more.
        sight: how large pictures are needed; None for as they are.
    """

    def __init__(
        self, workers: int | None = None, waiting: int = 1024, seconds: float = 1.0, sight: Sight | None = None
    ) -> None:
        self.workers = workers or min(MOST_BY_DEFAULT, len(os.sched_getaffinity(0)))
        self.waiting, self.seconds, self.sight = waiting, seconds, sight
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        # First in, first out: one that has just been started comes last.
        self._idle: SimpleQueue[DecodingProcess] = SimpleQueue()
        self._processes: set[DecodingProcess] = set()
        self._tasks = 0

    def start(self) -> None:
        """Start the processes, without waiting until they are ready."""
        for _ in range(self.workers):
            # In the threads that will use them: the kernel ends a child with the thread that made it.
            self._threads.submit(self._begin)

    def close(self) -> None:
        """End the processes; what they decode is lost."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._processes):
            process.kill()

    def pids(self) -> set[int]:
        """Ids of the processes."""
        return {process.pid for process in self._processes}

    def seconds_for(self, medium: Encoded) -> float:
        """Processor time that a medium may take."""
        return self.seconds * (1 + len(medium.data) / (2 * MEBIBYTE))

    async def decode(
        self,
        medium: Encoded,
        limits: MediaLimits,
        wanted: Callable[[], bool] = lambda: True,
        took: Callable[[float], None] = lambda seconds: None,
    ) -> Image.Image | Sound | None:
        """Decode a medium when its turn comes.

        Args:
            medium: a picture or a sound.
            limits: what it may hold.
            wanted: asked when its turn has come; if it is not wanted any more, the answer is None.
            took: told how many seconds decoding took, whatever came of it.

        Raises:
            MediaError: it cannot be decoded, or not within its limits.
            RefusedError: 503, too many wait or the machine has too much to do.
        """
        if self._tasks >= self.workers + self.waiting:
            raise _overloaded("too many media wait to be decoded; ask again later")
        self._tasks += 1
        task = asyncio.get_running_loop().run_in_executor(self._threads, self._work, medium, limits, wanted, took)
        task.add_done_callback(self._done)
        try:
            return await task
        except StalledError:
            raise _overloaded(
                "decoding takes too long because the server has too much to do; ask again later"
            ) from None

    def _done(self, task: "asyncio.Future[Image.Image | Sound | None]") -> None:
        self._tasks -= 1

    def _begin(self) -> None:
        process = DecodingProcess()
        self._processes.add(process)
        self._idle.put(process)

    def _take(self) -> DecodingProcess:
        """One that lives; there are as many as threads, unless one could not be started."""
        while True:
            if self._idle.empty():
                self._begin()
            process = self._idle.get()
            if process.alive:
                return process
            self._replace(process)

    def _replace(self, process: DecodingProcess) -> None:
        process.kill()
        self._processes.discard(process)
        self._begin()

    def _work(
        self, medium: Encoded, limits: MediaLimits, wanted: Callable[[], bool], took: Callable[[float], None]
    ) -> Image.Image | Sound | None:
        """In one of the threads."""
        if not wanted():
            return None
        process = self._take()
        seconds = self.seconds_for(medium)
        began = time.perf_counter()
        try:
            return process.decode(medium, limits, seconds, PATIENCE * seconds + PATIENCE, self.sight)
        except StalledError:
            logger.warning("a decoding process did not answer within %.0f s", PATIENCE * seconds + PATIENCE)
            raise
        except MediaError:
            if not process.alive:
                logger.warning("a decoding process ended while decoding %d bytes", len(medium.data))
            raise
        finally:
            took(time.perf_counter() - began)
            if process.alive:
                self._idle.put(process)
            else:
                self._replace(process)


def _overloaded(message: str) -> RefusedError:
    return RefusedError(ApiError(status=503, message=message, code=CODE, retry_after=math.ceil(RETRY_AFTER)))


@lru_cache(maxsize=1)
def decode_pool() -> DecodePool:
    """The pool of this server process; started when it is first asked for, and gone with the process."""
    settings = current()
    pool = DecodePool(settings.decode_workers, settings.decode_queue, settings.decode_seconds, model_sight())
    pool.start()
    return pool
