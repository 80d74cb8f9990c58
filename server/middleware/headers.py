"""`x-request-id` and `openai-processing-ms` on every answer; the outermost middleware, which begins the exchange.

A client's own id is kept when it is short and plain; anything else would end up in logs and answers as it is. The
engine gets the same id, so that its log, the answer's `id` and the header agree.
"""

import re
import time
import uuid
from collections.abc import Awaitable

from server.asgi import App, Message, Receive, Scope, Send, header
from server.exchange import Exchange, begin

_PLAIN = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
NAME = b"x-request-id"


class RequestHeaders:
    """Makes the `Exchange`, names it, and says how long the answer took to begin."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with an id."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope["headers"], NAME)
        name = given if _PLAIN.fullmatch(given) else uuid.uuid4().hex.encode()
        if name is not given:
            others = [(key, value) for key, value in scope["headers"] if key.lower() != NAME]
            scope = {**scope, "headers": [*others, (NAME, name)]}
        exchange = Exchange(request_id=name.decode())
        begin(exchange)

        def named(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                took = round((time.perf_counter() - exchange.started) * 1000)
                added = [(NAME, name), (b"openai-processing-ms", str(took).encode())]
                kept = [(key, value) for key, value in message.get("headers", ()) if key.lower() != NAME]
                message = {**message, "headers": [*kept, *added]}
            return send(message)

        await self.app(scope, receive, named)
