"""Bounds on connections: clients that say nothing, or a byte at a time, or do not read, hold nothing for ever.

Stands below ASGI, which knows of a request only once its head is complete: uvicorn's own protocol class, h11's or
httptools', is extended where the server starts. A body's pace is the matter of `server.middleware.body`.

A connection waits for a request's head from its beginning, or from the end of the answer before. When there are as many
connections as may be, a new one takes the place of the one that has waited longest; only when none waits is it refused.
So whoever opens thousands of silent connections pushes out his own.
"""

import asyncio
import logging
import resource
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from server.asgi import App, Receive, Scope, Send
from server.errors import ApiError
from server.metrics import definitions as metrics
from server.settings import current

if TYPE_CHECKING:
    import uvicorn

logger = logging.getLogger("server.life")

# What a process opens beside connections: files, sockets of the engine, decoders.
OTHER_FILES = 512
# Why the server ended a connection.
ENDINGS = ("head_timeout", "send_timeout", "displaced", "refused")


class Bounds(Protocol):
    """The settings that say how patient the server is; `server.settings.network`."""

    @property
    def max_connections(self) -> int:
        """Most connections at a time."""

    @property
    def head_timeout(self) -> float:
        """Longest time for the head of a request, seconds."""

    @property
    def idle_timeout(self) -> int:
        """Longest pause between an answer and the next request, seconds."""

    @property
    def send_timeout(self) -> float:
        """Longest wait for a client to read, seconds."""


class Connections:
    """Puts the bounds in place when the server starts; requests pass."""

    def __init__(self, app: App, bounds: Bounds | None = None) -> None:
        self.app = app
        self.bounds = bounds or current()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "lifespan":
            bound(scope["app"].state.server.config, self.bounds)
        await self.app(scope, receive, send)


def bound(config: "uvicorn.Config", bounds: Bounds) -> None:
    """Let every connection that a server with this loaded configuration accepts from now on be bounded."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < bounds.max_connections + OTHER_FILES:
        text = "max_connections is %d, but this process may open %d files: raise the limit (ulimit -n) or lower it"
        logger.warning(text, bounds.max_connections, files)
    config.timeout_keep_alive = bounds.idle_timeout
    values = {"bounds": bounds, "waiting": {}, "__doc__": "uvicorn's protocol, bounded."}
    config.http_protocol_class = type("BoundedProtocol", (_Bounded, config.http_protocol_class), values)


class _Bounded:
    """What is added to uvicorn's protocol class; its names without underscore are uvicorn's or asyncio's."""

    bounds: ClassVar[Bounds]
    waiting: ClassVar[dict["_Bounded", None]]
    """All connections that wait for a head, the one that has waited longest first."""

    connections: set[Any]
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _heard = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        metrics.CONNECTIONS.set(len(self.connections))
        if len(self.connections) > self.bounds.max_connections and not self._take_place():
            self._end("refused", ApiError(status=503, message="too many connections; try again in a moment"))
            return
        self._wait()
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._read()
        super().connection_lost(exc)  # type: ignore[misc]
        metrics.CONNECTIONS.set(len(self.connections))

    def data_received(self, data: bytes) -> None:
        if self._waits:
            self._heard = True
            self._hurry()
        super().data_received(data)  # type: ignore[misc]
        # A connection that became a websocket is not ours any more.
        if not self._waits or self not in self.connections:
            self._stop()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        if self._waits:
            self._heard = False
            self._wait()
        self._expect_reading()

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        self._expect_reading()

    def resume_writing(self) -> None:
        self._read()
        super().resume_writing()  # type: ignore[misc]

    @property
    def _waits(self) -> bool:
        """Whether the next thing to come is the head of a request, or the rest of one."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _wait(self) -> None:
        self.waiting.pop(self, None)
        self.waiting[self] = None

    def _hurry(self) -> None:
        """Begin to count the time; between two requests, uvicorn's own timer runs until the first byte."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.bounds.head_timeout, self._too_slow)

    def _stop(self) -> None:
        self.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_reading(self) -> None:
        if self._send_timer is None and self.transport.get_write_buffer_size():
            self._send_timer = self.loop.call_later(self.bounds.send_timeout, self._not_read)

    def _read(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _take_place(self) -> bool:
        """Close the connection that has waited longest; False if all are at work."""
        longest = next(iter(self.waiting), None)
        if longest is None:
            return False
        longest._end("displaced")
        return True

    def _too_slow(self) -> None:
        self._head_timer = None
        message = "the head of the request did not arrive in time; send it again"
        # Who has said nothing, such as a browser that connects in advance, expects no answer.
        self._end("head_timeout", ApiError(status=408, message=message) if self._heard else None)

    def _not_read(self) -> None:
        self._send_timer = None
        if self.transport.get_write_buffer_size():
            metrics.CONNECTIONS_CLOSED.labels("send_timeout").inc()
            # Closing in good order would wait for the client to read.
            self.transport.abort()

    def _end(self, reason: str, error: ApiError | None = None) -> None:
        self._stop()
        if self.transport.is_closing():
            return
        metrics.CONNECTIONS_CLOSED.labels(reason).inc()
        if error is not None:
            self.transport.write(_whole(error))
        self.transport.close()
        self._expect_reading()


def _whole(error: ApiError) -> bytes:
    """An error as a whole HTTP answer, for those who have not got as far as a request."""
    body = error.body()
    close = ((b"content-length", b"%d" % len(body)), (b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %s" % (error.status, HTTPStatus(error.status).phrase.encode())]
    lines += [name + b": " + value for name, value in (*error.headers(), *close)]
    return b"\r\n".join((*lines, b"", body))
