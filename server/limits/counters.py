"""What was used in the minute at hand, by key and kind: in this process, or in a Redis that several servers share.

Windows are fixed: one begins with the first use and ends 60 s later. A use of any size is one addition, which is atomic
in Redis too, and can be corrected when the true size is known; a moving window of the same library keeps one entry for
every unit, 25 million for a picture. The price is known: within any minute, twice the limit may be used, around the end
of a window.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from model.errors import ConfigurationError
from server.errors import ApiError, RefusedError
from server.metrics import definitions as metrics

logger = logging.getLogger("server.limits")
T = TypeVar("T")

WINDOW = 60.0
# Seconds that a request waits for Redis, and that Redis is left alone after it did not answer.
PATIENCE = 0.5
PAUSE = 1.0
SCHEMES = ("redis://", "rediss://")


@dataclass(frozen=True)
class Standing:
    """What a limit says after a use."""

    granted: bool
    limit: int
    remaining: int
    reset: float
    """Seconds until the window ends."""
    ends: float
    """When that is, `time.time`."""


class Counters:
    """Counts uses.

    Args:
        url: of a Redis or Valkey; None for this process alone.
        without_store: `open` to count in this process while Redis does not answer, `closed` to refuse.

    Raises:
        ConfigurationError: no URL of a Redis.
    """

    def __init__(self, url: str | None = None, without_store: Literal["open", "closed"] = "open") -> None:
        self._own: Storage = MemoryStorage()
        self._shared: Storage | None = None
        self._pool: ConnectionPool | None = None
        self._without_store = without_store
        self._paused_until = 0.0
        if url is not None:
            # Valkey speaks the same protocol.
            url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
            if not url.startswith(SCHEMES):
                raise ConfigurationError(f"limits_url: must begin with one of {', '.join(SCHEMES)}")
            self._pool = ConnectionPool.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
            # The annotation of the library's options leaves out the pool that its documentation offers.
            pool: Any = self._pool
            self._shared = RedisStorage(
                f"async+{url}", implementation="redispy", key_prefix="quartet", connection_pool=pool
            )

    async def take(self, key: str, kind: str, limit: int, cost: int) -> Standing:
        """Use `cost` of a key's limit, or nothing at all if that is more than is left.

        Raises:
            RefusedError: 503, the counters cannot be reached and nothing is to be granted without them.
        """
        item = RateLimitItemPerMinute(limit)
        name = item.key_for(key, kind)

        async def on(storage: Storage) -> Standing:
            used = await storage.incr(name, item.get_expiry(), amount=cost)
            granted = used <= limit
            if not granted:
                used = await storage.incr(name, item.get_expiry(), amount=-cost)
            ends = await storage.get_expiry(name)
            reset = min(max(ends - time.time(), 0.0), WINDOW)
            return Standing(granted, limit, max(limit - used, 0), reset, ends)

        return await self._on_storage(on)

    async def correct(self, key: str, kind: str, limit: int, amount: int, ends: float) -> None:
        """Add to what was taken, or give some of it back if the window it was taken in, by its end, is still open.

        Raises:
            RefusedError: as `take`.
        """
        item = RateLimitItemPerMinute(limit)
        name = item.key_for(key, kind)

        async def on(storage: Storage) -> None:
            now_ends = await storage.get_expiry(name)
            # Redis says the end to the second only; two windows are a whole one apart.
            if amount > 0 or (now_ends > time.time() and abs(now_ends - ends) < WINDOW / 2):
                await storage.incr(name, item.get_expiry(), amount=amount)

        await self._on_storage(on)

    async def close(self) -> None:
        """Close what is open to Redis; a later use opens it again."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _on_storage(self, use: Callable[[Storage], Awaitable[T]]) -> T:
        shared = self._shared
        if shared is None:
            return await use(self._own)
        if time.monotonic() >= self._paused_until:
            try:
                return await use(shared)
            except (RedisError, OSError) as error:
                metrics.LIMITS_STORE_FAILURES.inc()
                # The message may hold the address with its password.
                logger.error("the store of limits does not answer (%s); %s", type(error).__name__, self._without_store)
                self._paused_until = time.monotonic() + PAUSE
        if self._without_store == "open":
            return await use(self._own)
        message = "the limits of this key cannot be checked just now; try again in a moment"
        raise RefusedError(ApiError(status=503, message=message, code="limits_unavailable", retry_after=PAUSE))
