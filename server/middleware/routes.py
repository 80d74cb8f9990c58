"""Which routes exist: an allow-list in front of vLLM's own, everything else is 404.

vLLM's server carries routes for elastic scaling, key-value events, scoring, SageMaker, weight updates and development.
They do unauthenticated inference or change the engine, and nobody who calls this server needs them.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from server.errors import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTES = (
    "/health",
    "/metrics",
    "/version",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/tokenize",
    "/detokenize",
)
# A stored response: /v1/responses/{id} and /v1/responses/{id}/cancel.
_PATTERN = re.compile("|".join(map(re.escape, ROUTES)) + r"|/v1/responses/[\w-]+(?:/cancel)?")


class AllowedRoutes:
    """Answers 404 to every path that is not on the list."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or _PATTERN.fullmatch(path):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4404})
            return
        error = ApiError(status=404, message=f"there is no {scope.get('method', '')} {path[:200]} here")
        await send({"type": "http.response.start", "status": 404, "headers": error.headers()})
        await send({"type": "http.response.body", "body": error.body()})
