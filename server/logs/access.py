"""One line for every request, when it is over: who asked for what, what came of it, and what it cost."""

import logging

from server.logs.lines import FIELDS
from server.middleware.outcome import Outcome

logger = logging.getLogger("server.access")
# What orchestrators and Prometheus ask all day; a line only if it fails.
QUIET = frozenset(("/health", "/ready", "/metrics"))


def write(outcome: Outcome) -> None:
    """Write the line of a request."""
    exchange = outcome.exchange
    if outcome.route in QUIET and outcome.status < 400:
        return
    # An error of ours; a server that is full says so on purpose.
    level = logging.INFO if outcome.status < 500 else logging.WARNING if outcome.status == 503 else logging.ERROR
    fields = {
        "request_id": exchange.request_id,
        "trace_id": exchange.trace_id,
        "key": exchange.key.name if exchange.key else None,
        "method": outcome.method,
        "route": outcome.route,
        "status": outcome.status,
        "error": exchange.error_code,
        "client_left": outcome.left,
        "seconds": round(outcome.seconds, 4),
        "first_byte_seconds": None if outcome.first_byte is None else round(outcome.first_byte, 4),
        "prompt_tokens": exchange.prompt_tokens,
        "completion_tokens": exchange.completion_tokens,
        **{f"{modality}_tokens": tokens for modality, tokens in exchange.media_tokens.items()},
        "media": sum(part.modality is not None for part in exchange.parts),
        "media_bytes": exchange.media_bytes,
        "received_bytes": outcome.received,
        "sent_bytes": outcome.sent,
    }
    logger.log(level, "request", extra={FIELDS: fields})
