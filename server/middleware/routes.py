"""Which routes exist: an allow-list in front of vLLM's own, everything else is 404.

vLLM's server carries routes for elastic scaling, key-value events, scoring, SageMaker, weight updates and development.
They do unauthenticated inference or change the engine, and nobody who calls this server needs them.
"""

import re

from server.asgi import App, Receive, Scope, Send, answer
from server.errors import ApiError
from server.settings import current

# `{...}` is one step of a path; a model's name may have two.
ROUTES = (
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/version",
    "/v1/models",
    "/v1/models/{model}",
    "/v1/chat/completions",
    "/v1/chat/completions/tokens",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/files",
    "/v1/files/{id}",
    "/v1/files/{id}/content",
    "/tokenize",
    "/detokenize",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
)
# There only where the settings allow it.
ADAPTER_ROUTES = frozenset(("/v1/load_lora_adapter", "/v1/unload_lora_adapter"))
_STEPS = {"{model}": r"[\w.:@+-]+(?:/[\w.:@+-]+)?"}


def _pattern(route: str) -> str:
    return "".join(
        _STEPS.get(piece, r"[\w-]+") if piece.startswith("{") else re.escape(piece)
        for piece in re.split(r"(\{\w+\})", route)
    )


_PATTERN = re.compile("|".join(f"({_pattern(route)})" for route in ROUTES), re.ASCII)
OTHER = "other"


def template(path: str) -> str:
    """The route that a path belongs to, as in `ROUTES`; `other` if there is none."""
    match = _PATTERN.fullmatch(path)
    return ROUTES[match.lastindex - 1] if match and match.lastindex else OTHER


class AllowedRoutes:
    """Answers 404 to every path that is not on the list."""

    def __init__(self, app: App, hidden: frozenset[str] | None = None) -> None:
        self.app = app
        self.hidden = hidden if hidden is not None else frozenset() if current().hot_adapters else ADAPTER_ROUTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or (path not in self.hidden and _PATTERN.fullmatch(path)):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4404})
            return
        method = scope.get("method", "")
        await answer(send, ApiError(status=404, message=f"there is no {method} {path[:200]} here"))
