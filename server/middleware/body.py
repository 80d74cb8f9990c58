"""How large a request may be and how slowly it may come, whether it says its size first or not.

What is over is answered with 413 or 408 and the connection is closed, so that the rest is not read.
"""

import asyncio
import time
from collections.abc import Awaitable

from server.asgi import HELD, App, Message, Receive, Scope, Send, answer, header
from server.errors import ApiError
from server.settings import current

# Slower than this is no network of today, but a client that means to hold a connection; bytes per second.
MIN_RATE = 16 * 1024
_CLOSE = ((b"connection", b"close"),)


class BodyLimits:
    """Counts the bytes that the application reads; nothing is copied or held back."""

    def __init__(self, app: App, max_bytes: int | None = None, timeout: float | None = None) -> None:
        self.app = app
        self.max_bytes = current().max_body_bytes if max_bytes is None else max_bytes
        self.timeout = current().body_timeout if timeout is None else timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = header(scope["headers"], b"content-length")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > self.max_bytes):
            await answer(send, self.too_large(), _CLOSE)
            return
        body = _Body(self, receive, send)
        try:
            await self.app(scope, body.receive, body.send)
        except Exception:
            # What the application makes of a request that ends in the middle is not the reason.
            if body.refused is None or body.started:
                raise
        if body.refused is not None and not body.started:
            await answer(send, body.refused, _CLOSE)

    def too_large(self) -> ApiError:
        """The answer to a body beyond the limit."""
        message = f"the request has more than {self.max_bytes} bytes; send fewer or smaller media"
        return ApiError(status=413, message=message)

    def too_slow(self) -> ApiError:
        """The answer to a body that does not come."""
        return ApiError(status=408, message="the rest of the request did not arrive in time; send it again")


class _Body:
    """The body of one request while it is read."""

    def __init__(self, limits: BodyLimits, receive: Receive, send: Send) -> None:
        self.limits, self._receive, self._send = limits, receive, send
        self.refused: ApiError | None = None
        self.started = False
        self._begun = time.monotonic()
        self._complete = False
        self._bytes = 0

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        if self.refused is not None:
            return {"type": "http.disconnect"}
        deadline = self._begun + self.limits.timeout + self._bytes / MIN_RATE
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            self.refused = self.limits.too_slow()
            return {"type": "http.disconnect"}
        self._bytes += len(message.get("body", b""))
        if self._bytes > self.limits.max_bytes:
            self.refused = self.limits.too_large()
            return {"type": "http.disconnect"}
        self._complete = not message.get("more_body", False)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if self.refused is not None and not self.started:
            return HELD  # the application's answer to half a request; ours follows
        self.started = True
        return self._send(message)
