"""Error bodies in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, with a string `code`.

A message says what was wrong and what to do. It never repeats what the client sent: media are megabytes of base64, and
whatever is echoed ends up in somebody's log.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

# What OpenAI's clients tell apart by; the status is what they raise by.
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limit_exceeded",
    500: "internal_error",
    501: "not_supported",
    503: "unavailable",
}
# Answers that may differ the next time: a client that waits a moment is a client that does not add to the load.
RETRY_AFTER = {429: 1.0, 503: 1.0}
MAX_MESSAGE = 600
# Runs of base64, hexadecimal dumps, tensor contents.
_PAYLOAD = re.compile(r"[A-Za-z0-9+/=_\\-]{64,}")
# How vLLM's exceptions print their attributes after the message.
_ATTRIBUTES = re.compile(r" \((?:parameter|value)=.*\)\s*$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ApiError:
    """One error as a client sees it."""

    status: int
    """HTTP status."""
    message: str
    """What was wrong and what to do."""
    param: str | None = None
    """Path of the offending part of the request, such as `messages[0].content[1]`."""
    code: str | None = None
    """Machine-readable reason; by default the status's own."""
    retry_after: float | None = None
    """Seconds after which asking again makes sense; by default the status's own."""

    @property
    def content(self) -> dict[str, str | None]:
        """The value of `error` in the body."""
        return {
            "message": clean(self.message),
            "type": TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error"),
            "param": self.param,
            "code": self.code or CODES.get(self.status, "invalid_request" if self.status < 500 else "internal_error"),
        }

    def body(self) -> bytes:
        """The JSON body."""
        # A lone surrogate can be written in JSON, but not in UTF-8.
        return json.dumps({"error": self.content}, ensure_ascii=False).encode(errors="replace")

    def headers(self, given: Iterable[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
        """ASGI headers beside the length; `retry-after` unless it is among the `given` ones."""
        headers = [(b"content-type", b"application/json")]
        seconds = RETRY_AFTER.get(self.status) if self.retry_after is None else self.retry_after
        if seconds is not None and all(name.lower() != b"retry-after" for name, _ in given):
            headers.append((b"retry-after", str(math.ceil(seconds)).encode()))
            headers.append((b"retry-after-ms", str(math.ceil(seconds * 1000)).encode()))
        return headers


class RefusedError(Exception):
    """A request that is answered with an error; `server.middleware.errors` sends it.

    No `ValueError`: the engine's server would answer those in its own words.
    """

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


def refuse(status: int, message: str, *, param: str | None = None, code: str | None = None) -> RefusedError:
    """What to raise in a route or a middleware inside `OpenAIErrors`."""
    return RefusedError(ApiError(status=status, message=message, param=param, code=code))


def clean(message: str) -> str:
    """A message without payloads, of bounded length."""
    message = _ATTRIBUTES.sub("", message[: 20 * MAX_MESSAGE])
    message = _PAYLOAD.sub("...", message)
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 3] + "..."
