"""Watches every request to its end and hands what came of it to those who count and log.

Stands just inside `RequestHeaders`, so it sees the answers of all other middlewares, as the client does.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.asgi import App, Message, Receive, Scope, Send, header
from server.exchange import Exchange, current_exchange
from server.metrics import definitions as metrics
from server.middleware.routes import template

# A client that left before there was a status, as nginx calls it.
LEFT = 499
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one request."""

    exchange: Exchange
    route: str
    """Template of the path; `other` for one that does not exist."""
    method: str
    """One of the usual ones, or `other`."""
    status: int
    """HTTP status, 499 if the client left before there was one."""
    answered: bool
    """Whether that status was sent."""
    seconds: float
    """From the first byte of the request to the end."""
    first_byte: float | None
    """To the first byte of a stream, seconds; None for whole answers."""
    received: int
    """Bytes of the request's body that were read."""
    sent: int
    """Bytes of the answer's body."""
    left: bool
    """Whether the client left before the answer was complete."""


Listener = Callable[[Outcome], None]


class Outcomes:
    """Passes everything on and tells the listeners."""

    def __init__(self, app: App, listeners: Sequence[Listener] | None = None) -> None:
        from server.logs.access import write
        from server.metrics.requests import count
        from server.traces.middleware import describe

        self.app = app
        self.listeners = (count, write, describe) if listeners is None else tuple(listeners)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        watch = _Watch(receive, send)
        failed = False
        metrics.IN_FLIGHT.inc()
        try:
            await self.app(scope, watch.receive, watch.send)
        except Exception:
            failed = True
            raise
        finally:
            outcome = watch.outcome(current_exchange(), scope, failed)
            for listener in self.listeners:
                listener(outcome)
            # Last, so that a request which is not in flight any more has been counted.
            metrics.IN_FLIGHT.dec()


class _Watch:
    """One request on its way."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._status: int | None = None
        self._streams = self._complete = self._left = False
        self._first_byte: float | None = None
        self._received = self._sent = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left = self._left or not self._complete
        else:
            self._received += len(message.get("body", b""))
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._streams = header(message.get("headers", ()), b"content-type").startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            size = len(message.get("body", b""))
            if size and self._streams and self._first_byte is None:
                self._first_byte = time.perf_counter()
            self._sent += size
            self._complete = not message.get("more_body", False)
        return self._send(message)

    def outcome(self, exchange: Exchange, scope: Scope, failed: bool) -> Outcome:
        # What is raised before an answer began becomes a 500 outside of this middleware.
        answered = self._status is not None or failed
        first = None if self._first_byte is None else self._first_byte - exchange.started
        return Outcome(
            exchange=exchange,
            route=template(scope["path"]),
            method=scope["method"] if scope["method"] in _METHODS else "other",
            status=self._status or (500 if failed else LEFT),
            answered=answered,
            seconds=time.perf_counter() - exchange.started,
            first_byte=first,
            received=self._received,
            sent=self._sent,
            left=self._left or not answered,
        )
