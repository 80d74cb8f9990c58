"""Which routes exist: an allow-list in front of vLLM's own, everything else is 404, other methods of a path 405.

vLLM's server carries routes for elastic scaling, key-value events, scoring, SageMaker, weight updates and development.
They do unauthenticated inference or change the engine, and nobody who calls this server needs them.
"""

import re

from server.asgi import App, Receive, Scope, Send, answer, is_preflight
from server.errors import ApiError
from server.settings import current

# What is answered, by path. `{...}` is one step of it; a model's name may have two.
ROUTES: dict[str, tuple[str, ...]] = {
    "/": ("GET", "HEAD"),
    "/health": ("GET",),
    "/ready": ("GET",),
    "/metrics": ("GET",),
    "/version": ("GET",),
    "/openapi.json": ("GET",),
    "/v1/models": ("GET",),
    "/v1/models/{model}": ("GET",),
    "/v1/chat/completions": ("POST",),
    "/v1/chat/completions/tokens": ("POST",),
    "/v1/completions": ("POST",),
    "/v1/responses": ("POST",),
    "/v1/responses/{id}": ("GET",),
    "/v1/responses/{id}/cancel": ("POST",),
    "/v1/files": ("GET", "POST"),
    "/v1/files/{id}": ("DELETE", "GET"),
    "/v1/files/{id}/content": ("GET",),
    "/tokenize": ("POST",),
    "/detokenize": ("POST",),
    "/v1/load_lora_adapter": ("POST",),
    "/v1/unload_lora_adapter": ("POST",),
}
# There only where the settings allow it.
ADAPTER_ROUTES = frozenset(("/v1/load_lora_adapter", "/v1/unload_lora_adapter"))
_STEPS = {"{model}": r"[\w.:@+-]+(?:/[\w.:@+-]+)?"}


def _pattern(route: str) -> str:
    return "".join(
        _STEPS.get(piece, r"[\w-]+") if piece.startswith("{") else re.escape(piece)
        for piece in re.split(r"(\{\w+\})", route)
    )


_PATTERN = re.compile("|".join(f"({_pattern(route)})" for route in ROUTES), re.ASCII)
_PATHS = tuple(ROUTES)
OTHER = "other"


def template(path: str) -> str:
    """The route that a path belongs to, as in `ROUTES`; `other` if there is none."""
    match = _PATTERN.fullmatch(path)
    return _PATHS[match.lastindex - 1] if match and match.lastindex else OTHER


class AllowedRoutes:
    """Answers 404 to every path that is not on the list, and 405 to every method that is not there for its path."""

    def __init__(self, app: App, hidden: frozenset[str] | None = None) -> None:
        self.app = app
        self.hidden = hidden if hidden is not None else frozenset() if current().hot_adapters else ADAPTER_ROUTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4404})
            return
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        route = template(path)
        if route == OTHER or route in self.hidden:
            await answer(send, ApiError(status=404, message=f"there is no {method[:20]} {path[:200]} here"))
        elif method in ROUTES[route] or is_preflight(scope):
            await self.app(scope, receive, send)
        else:
            allowed = ", ".join(ROUTES[route])
            error = ApiError(status=405, message=f"{route} answers {allowed} only")
            await answer(send, error, [(b"allow", allowed.encode())])
