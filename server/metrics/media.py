"""Counts media while they are read: one `reading` for each, wherever its bytes come from."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from server.exchange import current_exchange
from server.metrics import definitions as metrics

T = TypeVar("T")
# Scheme of an address -> where its bytes come from.
SOURCES = {"data": "data", "file-id": "file", "http": "url", "https": "url"}
UNKNOWN = "unknown"


class Reading:
    """One medium that is being read."""

    def __init__(self, modality: str, source: str) -> None:
        self.modality, self.source = modality, source
        self.outcome = "decoded"

    def known(self) -> None:
        """It was decoded before and need not be again."""
        self.outcome = "cached"

    def fetched(self, size: int, seconds: float | None = None) -> None:
        """Its file is here: so many bytes, which took so long to get."""
        metrics.MEDIA_BYTES.labels(self.modality, self.source).inc(size)
        current_exchange().media_bytes += size
        if seconds is not None:
            metrics.MEDIA_FETCH_SECONDS.labels(self.source).observe(seconds)

    def timed(self, decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
        """`decode`, with its time measured where it runs."""

        def measured(data: bytes) -> T:
            started = time.perf_counter()
            try:
                return decode(data)
            finally:
                metrics.MEDIA_DECODE_SECONDS.labels(self.modality).observe(time.perf_counter() - started)

        return measured


@contextmanager
def reading(modality: str, url: str) -> Iterator[Reading]:
    """Count a medium, by what came of it: an exception refuses it, a cancellation abandons it."""
    medium = Reading(modality, source_of(url))
    metrics.MEDIA_PENDING.inc()
    try:
        yield medium
    except Exception:
        medium.outcome = "refused"
        raise
    except BaseException:
        medium.outcome = "abandoned"
        raise
    finally:
        metrics.MEDIA_PENDING.dec()
        metrics.MEDIA_ITEMS.labels(modality, medium.source, medium.outcome).inc()
        if medium.outcome == "cached":
            metrics.MEDIA_CACHE_HITS.labels(modality).inc()


def refused(modality: str | None, url: str | None) -> None:
    """Count a medium that was refused before its bytes were looked for."""
    metrics.MEDIA_ITEMS.labels(modality or UNKNOWN, source_of(url or ""), "refused").inc()


def source_of(url: str) -> str:
    """`data`, `file` or `url`, by the scheme of an address; `unknown` for any other."""
    return SOURCES.get(url.partition(":")[0][:16].lower(), UNKNOWN)
