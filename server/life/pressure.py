"""Back-pressure: a bounded number of requests runs, a bounded number waits, and the next one is told to come later.

What waits has not been read: its body stays with the network, so a crowd costs connections, not memory. Only requests
with a body count; asking whether the server lives must not wait behind those who keep it busy.
"""

import asyncio
from collections import deque

from server.asgi import App, Receive, Scope, Send, answer
from server.errors import ApiError
from server.metrics import definitions as metrics
from server.settings import current

# A client that was refused has been told to leave; the rest of its body is not read.
_CLOSE = ((b"connection", b"close"),)


class BackPressure:
    """Lets requests in by turns, first come first served."""

    def __init__(
        self,
        app: App,
        max_running: int | None = None,
        max_waiting: int | None = None,
        max_wait: float | None = None,
    ) -> None:
        self.app = app
        settings = current()
        self.max_running = settings.max_running if max_running is None else max_running
        self.max_waiting = settings.max_waiting if max_waiting is None else max_waiting
        self.max_wait = settings.max_wait if max_wait is None else max_wait
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, in its turn, or refuse."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            granted = await self._turn()
        finally:
            self._count()
        if not granted:
            message = "the server has all the requests it can take; try again in a moment"
            await answer(send, ApiError(status=503, message=message, code="server_overloaded"), _CLOSE)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self._next()
            self._count()

    def _count(self) -> None:
        metrics.QUEUE_RUNNING.set(self.running)
        metrics.QUEUE_WAITING.set(len(self.waiting))

    async def _turn(self) -> bool:
        """Wait for a turn; False if there is none to be had."""
        if self.running < self.max_running:
            self.running += 1
            return True
        if len(self.waiting) >= self.max_waiting:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        self._count()
        try:
            await asyncio.wait((turn,), timeout=self.max_wait)
        except asyncio.CancelledError:
            # The turn may have been given in the same moment; it must not be lost.
            if turn.done():
                self._next()
            else:
                self.waiting.remove(turn)
            raise
        if turn.done():
            return True
        self.waiting.remove(turn)
        return False

    def _next(self) -> None:
        """Give the turn that ended to the one who waited longest."""
        if self.waiting:
            self.waiting.popleft().set_result(None)
        else:
            self.running -= 1
