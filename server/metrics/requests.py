"""Counts requests when they are over."""

from prometheus_client import Counter

from server.errors import CODES
from server.metrics import definitions as metrics
from server.middleware.outcome import Outcome
from server.settings import current

# Every code that an answer of ours may carry, beside those of a status alone.
REASONS = frozenset(CODES.values()) | {
    "adapter_exists",
    "array_above_max_length",
    "array_below_min_length",
    "context_length_exceeded",
    "decimal_above_max_value",
    "decimal_below_min_value",
    "empty_file",
    "file_not_found",
    "file_too_large",
    "files_disabled",
    "grammar_too_large",
    "integer_above_max_value",
    "integer_below_min_value",
    "invalid_adapter",
    "invalid_form",
    "invalid_json",
    "invalid_media",
    "invalid_part",
    "invalid_type",
    "invalid_value",
    "limits_unavailable",
    "media_not_fetched",
    "media_overloaded",
    "media_too_expensive",
    "media_too_large",
    "missing_required_parameter",
    "model_not_found",
    "not_ready",
    "page_broken",
    "quota_exceeded",
    "server_ending",
    "server_overloaded",
    "storage_full",
    "storage_unavailable",
    "string_above_max_length",
    "too_many_media",
    "too_many_parts",
    "unknown_parameter",
}
OTHER = "other"
# More names than this of keys that came and went are one.
MAX_KEYS = 200
_keys: set[str] = set()


def count(outcome: Outcome) -> None:
    """Add one request to the counters."""
    exchange, status = outcome.exchange, str(outcome.status)
    metrics.REQUESTS.labels(outcome.route, outcome.method, status).inc()
    metrics.REQUEST_SECONDS.labels(outcome.route).observe(outcome.seconds)
    if outcome.first_byte is not None:
        metrics.FIRST_BYTE_SECONDS.labels(outcome.route).observe(outcome.first_byte)
    if outcome.left:
        metrics.DISCONNECTS.labels(outcome.route).inc()
    if outcome.status >= 400:
        if outcome.answered:
            count_reason(metrics.REJECTED, exchange.error_code or CODES.get(outcome.status))
    elif exchange.error_code is not None:
        count_reason(metrics.STREAM_ERRORS, exchange.error_code)
    if exchange.key is not None and current().metrics_by_key:
        key = key_label(exchange.key.name)
        metrics.KEY_REQUESTS.labels(key, status).inc()
        metrics.KEY_TOKENS.labels(key, "prompt").inc(exchange.prompt_tokens)
        metrics.KEY_TOKENS.labels(key, "completion").inc(exchange.completion_tokens)


def count_reason(counter: Counter, code: str | None) -> None:
    """Add one, under a code that is known."""
    counter.labels(code if code in REASONS else OTHER).inc()


def key_label(name: str) -> str:
    """The name of a key as a label."""
    if name not in _keys and len(_keys) >= MAX_KEYS:
        return OTHER
    _keys.add(name)
    return name
