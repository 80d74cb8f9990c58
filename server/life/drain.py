"""The end on purpose: after SIGTERM nothing new begins, what runs may finish for a while, and the rest is told why not.

vLLM's own handler, installed when its server starts, ends streams without a word. Ours takes its place once the
server has started; SIGINT stays vLLM's, because it reaches the engine's process as well.
"""

import asyncio
import logging
import signal
from typing import Any

from server.asgi import App, Message, Receive, Scope, Send, answer
from server.errors import ApiError, refuse
from server.metrics import definitions as metrics
from server.settings import current

logger = logging.getLogger("server.life")

_CLOSE = ((b"connection", b"close"),)
# For the last words of what did not finish, seconds.
LAST_WORDS = 5.0
CODE = "server_ending"


class Drain:
    """Knows the requests that run; stands inside `OpenAIErrors`, which writes the last event of a stream."""

    def __init__(self, app: App, grace_seconds: float | None = None) -> None:
        self.app = app
        self.grace_seconds = current().grace_seconds if grace_seconds is None else grace_seconds
        self.running: set[asyncio.Task[Any]] = set()
        self.ending: asyncio.Task[None] | None = None
        self._late = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        task = asyncio.current_task()
        if scope["type"] != "http" or scope["method"] != "POST" or task is None:
            await self.app(scope, receive, send)
            return
        if self.ending is not None:
            await answer(send, ApiError(status=503, message="the server is ending; ask again", code=CODE), _CLOSE)
            return
        self.running.add(task)
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._late:
                raise
            task.uncancel()
            raise refuse(503, "the server ended before the answer did; ask again", code=CODE) from None
        finally:
            self.running.discard(task)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGTERM, self.begin, scope["app"].state)
            await send(message)

        await self.app(scope, receive, started)

    def begin(self, state: Any) -> None:
        """Begin to end the server whose application has this state; a second time changes nothing."""
        if self.ending is None:
            logger.info("ending: %d requests may run for %g s more", len(self.running), self.grace_seconds)
            state.quartet_ending = True
            metrics.DRAINING.set(1)
            self.ending = asyncio.get_running_loop().create_task(self._end(state))

    async def _end(self, state: Any) -> None:
        if self.running:
            await asyncio.wait(set(self.running), timeout=self.grace_seconds)
        if self.running:
            self._late = True
            late = set(self.running)
            for task in late:
                task.cancel()
            await asyncio.wait(late, timeout=LAST_WORDS)
        # As vLLM's watchdog does: the server closes what is open, then the engine is shut down.
        state.server.should_exit = True
