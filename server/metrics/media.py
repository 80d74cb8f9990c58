"""Counts and traces media while they are read: one `reading` for each, wherever its bytes come from."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

from server.exchange import current_exchange
from server.metrics import definitions as metrics
from server.traces import spans

# Scheme of an address -> where its bytes come from.
SOURCES = {"data": "data", "file-id": "file", "http": "url", "https": "url"}
UNKNOWN = "unknown"
OUTCOMES = ("decoded", "cached", "refused", "abandoned")


class Reading:
    """One medium that is being read."""

    def __init__(self, modality: str, source: str) -> None:
        self.modality, self.source = modality, source
        self.outcome = "decoded"
        parent = spans.here()
        about = {"quartet.modality": modality, "quartet.source": source}
        self._span = None if parent is None else spans.begin("medium", time.time_ns(), parent, about)
        self._inside = None if self._span is None else trace.set_span_in_context(self._span)

    def known(self) -> None:
        """It was decoded before and need not be again."""
        self.outcome = "cached"

    def fetched(self, size: int, seconds: float | None = None) -> None:
        """Its file is here: so many bytes, which took so long to get."""
        metrics.MEDIA_BYTES.labels(self.modality, self.source).inc(size)
        current_exchange().media_bytes += size
        if seconds is not None:
            metrics.MEDIA_FETCH_SECONDS.labels(self.source).observe(seconds)
            spans.note("fetch", time.time_ns() - round(seconds * 1e9), self._inside, {"quartet.bytes": size})

    def decoded(self, seconds: float) -> None:
        """Decoding it took so long, whatever came of it."""
        metrics.MEDIA_DECODE_SECONDS.labels(self.modality).observe(seconds)
        spans.note("decode", time.time_ns() - round(seconds * 1e9), self._inside)

    def abandoned(self) -> None:
        """Nobody needs it any more."""
        self.outcome = "abandoned"

    def end(self) -> None:
        """Count it."""
        metrics.MEDIA_ITEMS.labels(self.modality, self.source, self.outcome).inc()
        if self.outcome == "cached":
            metrics.MEDIA_CACHE_HITS.labels(self.modality).inc()
        if self._span is not None:
            self._span.set_attribute("quartet.outcome", self.outcome)
            self._span.end()


@contextmanager
def reading(modality: str, url: str) -> Iterator[Reading]:
    """Count a medium, by what came of it: an exception refuses it, a cancellation abandons it."""
    medium = Reading(modality, source_of(url))
    metrics.MEDIA_PENDING.inc()
    try:
        yield medium
    except Exception:
        if medium.outcome != "abandoned":
            medium.outcome = "refused"
        raise
    except BaseException:
        medium.abandoned()
        raise
    finally:
        metrics.MEDIA_PENDING.dec()
        medium.end()


def refused(modality: str | None, url: str | None) -> None:
    """Count a medium that was refused before its bytes were looked for."""
    metrics.MEDIA_ITEMS.labels(modality or UNKNOWN, source_of(url or ""), "refused").inc()


def source_of(url: str) -> str:
    """`data`, `file` or `url`, by the scheme of an address; `unknown` for any other."""
    return SOURCES.get(url.partition(":")[0][:16].lower(), UNKNOWN)
