"""Every metric of ours, once. Names are in base units, labels are bounded: no text of a client's is among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

Mode = Literal["livesum", "livemax", "livemin", "livemostrecent"]

# Seconds of whole answers, of the first byte of one, and of work on one medium.
_ANSWER = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FIRST_BYTE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_MEDIUM = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Definition:
    """What there is to know of a metric before it has a value."""

    name: str
    """As on `/metrics`; a histogram's series end in `_bucket`, `_sum` and `_count`."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


DEFINED: dict[str, Definition] = {}


def _noted(kind: Literal["counter", "gauge", "histogram"], name: str, text: str, labels: Sequence[str]) -> None:
    assert name not in DEFINED
    DEFINED[name] = Definition(name, kind, tuple(labels), text)


def _counter(name: str, text: str, *labels: str) -> Counter:
    _noted("counter", name, text, labels)
    return Counter(name, text, labels)


def _gauge(name: str, text: str, *labels: str, mode: Mode = "livesum") -> Gauge:
    _noted("gauge", name, text, labels)
    return Gauge(name, text, labels, multiprocess_mode=mode)


def _histogram(name: str, text: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    _noted("histogram", name, text, labels)
    return Histogram(name, text, labels, buckets=buckets)


def _scraped(name: str, text: str, *labels: str) -> str:
    """A gauge that has a value only when it is asked for; see `server.metrics.processes`."""
    _noted("gauge", name, text, labels)
    return name


REQUESTS = _counter(
    "quartet_requests_total",
    "Answers, by route template, method and HTTP status; 499 where the client left before there was one.",
    "route",
    "method",
    "status",
)
REQUEST_SECONDS = _histogram(
    "quartet_request_duration_seconds",
    "From the first byte of a request to the last of its answer.",
    "route",
    buckets=_ANSWER,
)
FIRST_BYTE_SECONDS = _histogram(
    "quartet_time_to_first_byte_seconds",
    "From the first byte of a request to the first of its stream.",
    "route",
    buckets=_FIRST_BYTE,
)
IN_FLIGHT = _gauge("quartet_requests_in_flight", "Requests whose answer is not complete, those that wait among them.")
DISCONNECTS = _counter(
    "quartet_client_disconnects_total", "Clients that left before their answer was complete.", "route"
)
REJECTED = _counter(
    "quartet_rejected_requests_total", "Requests answered with an error, by the code of the error.", "reason"
)
STREAM_ERRORS = _counter(
    "quartet_stream_errors_total", "Answers that failed after they had begun, by the code of the error.", "reason"
)
QUEUE_RUNNING = _gauge("quartet_queue_running", "Requests with a body that run.")
QUEUE_WAITING = _gauge("quartet_queue_waiting", "Requests with a body that wait for their turn, unread.")
QUEUE_CAPACITY = _gauge("quartet_queue_capacity", "Most requests with a body that may run at a time.")
CONNECTIONS = _gauge("quartet_connections", "Open connections, those that say nothing among them.")
CONNECTIONS_CLOSED = _counter(
    "quartet_connections_closed_total",
    "Connections that the server ended: head_timeout, send_timeout, displaced (by a newer one), or refused.",
    "reason",
)
DRAINING = _gauge("quartet_draining", "1 while the server ends and takes nothing new.", mode="livemax")

MEDIA_ITEMS = _counter(
    "quartet_media_items_total",
    "Media of requests: decoded, cached (known already), refused, or abandoned (the client left, or another medium of "
    "its request was refused first).",
    "modality",
    "source",
    "outcome",
)
MEDIA_BYTES = _counter("quartet_media_bytes_total", "Bytes of the files of media that were read.", "modality", "source")
MEDIA_FETCH_SECONDS = _histogram(
    "quartet_media_fetch_seconds", "Reading the bytes of a medium from where it is.", "source", buckets=_MEDIUM
)
MEDIA_DECODE_SECONDS = _histogram(
    "quartet_media_decode_seconds", "Decoding one medium, without the wait for it.", "modality", buckets=_MEDIUM
)
MEDIA_PENDING = _gauge("quartet_media_pending", "Media that are being read or decoded, or wait for it.")
MEDIA_CACHE_HITS = _counter(
    "quartet_media_cache_hits_total", "Media that were known already and not decoded again.", "modality"
)
PROMPT_MEDIA_TOKENS = _counter(
    "quartet_prompt_media_tokens_total", "Tokens that stand for media in prompts that entered the engine.", "modality"
)
ENCODER_SECONDS = _histogram(
    "quartet_encoder_seconds",
    "Encoding and projecting the media of one step of the engine.",
    "modality",
    buckets=_MEDIUM,
)
ENCODER_BATCH = _histogram(
    "quartet_encoder_batch_size", "Media encoded in one step of the engine.", "modality", buckets=_BATCH
)

FILES = _gauge("quartet_files_stored", "Files that the Files API keeps, as of its last sweep.", mode="livemostrecent")
FILES_BYTES = _gauge(
    "quartet_files_stored_bytes",
    "Bytes of the files that the Files API keeps, as of its last sweep.",
    mode="livemostrecent",
)

KEYS_RELOAD_FAILURES = _counter(
    "quartet_keys_reload_failures_total", "Changes of the file of keys that could not be read; the keys stayed."
)
LIMITS_STORE_FAILURES = _counter(
    "quartet_limits_store_failures_total", "Times the shared store of limits did not answer."
)
KEY_REQUESTS = _counter(
    "quartet_key_requests_total", "Answers, by name of the key; only with metrics_by_key.", "key", "status"
)
KEY_TOKENS = _counter(
    "quartet_key_tokens_total",
    "Tokens of prompts and answers, by name of the key; only with metrics_by_key.",
    "key",
    "kind",
)

BUILD_INFO = _gauge(
    "quartet_build_info", "1; what runs here.", "version", "vllm_version", "model_name", mode="livemostrecent"
)
START_TIME = _gauge(
    "quartet_start_time_seconds", "When the server began to answer, seconds since 1970.", mode="livemin"
)
ENGINE_ALIVE = _scraped("quartet_engine_alive", "1 while the engine lives.")
ASYNCIO_TASKS = _scraped("quartet_asyncio_tasks", "Tasks of the event loop of the process that was asked.")
PROCESS_MEMORY = _scraped(
    "quartet_process_resident_memory_bytes",
    "Resident memory of the server's processes, by their part; what parts share counts in each.",
    "process",
)
PROCESS_FDS = _scraped("quartet_process_open_fds", "Open files of the server's processes, by their part.", "process")
PROCESS_THREADS = _scraped("quartet_process_threads", "Threads of the server's processes, by their part.", "process")
