"""429 when a key has used what it may; `x-ratelimit-*` on every answer of a key with limits, also on successes."""

from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress

from server.asgi import App, Message, Receive, Scope, Send, answer
from server.errors import ApiError, RefusedError
from server.exchange import current_exchange
from server.limits.budget import Budget
from server.limits.counters import Counters
from server.settings import current


class KeyLimits:
    """Stands behind `server.keys.middleware`, which knows whose request it is; only requests with a body count."""

    def __init__(self, app: App, counters: Counters | None = None) -> None:
        self.app = app
        settings = current()
        self.counters = counters or Counters(settings.limits_store, settings.limits_without_store)
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and count, or refuse."""
        if scope["type"] == "lifespan":
            try:
                await self.app(scope, receive, send)
            finally:
                await self.counters.close()
            return
        exchange = current_exchange()
        key = exchange.key
        if scope["type"] != "http" or scope["method"] != "POST" or key is None:
            await self.app(scope, receive, send)
            return
        budget = Budget(key, self.counters, exchange)
        exchange.gates.append(budget.read)
        exchange.media_gates.append(budget.medium)

        def told(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *budget.headers()]}
            return send(message)

        if key.concurrent_requests is not None and self._running[key.name] >= key.concurrent_requests:
            message = f"{key.concurrent_requests} requests of this key are running already; wait for one of them"
            await answer(told, ApiError(status=429, message=message))
            return
        self._running[key.name] += 1
        try:
            await budget.begin()
        except RefusedError as refused:
            self._leave(key.name)
            await answer(told, refused.error)
            return
        except BaseException:
            self._leave(key.name)
            raise
        try:
            await self.app(scope, receive, told)
        finally:
            self._leave(key.name)
            await self._settle(budget)

    def _leave(self, name: str) -> None:
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]

    async def _settle(self, budget: Budget) -> None:
        # The answer is out; the log says that the store was not there.
        with suppress(RefusedError):
            await budget.end()
