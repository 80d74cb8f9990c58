"""401 without a key, 403 where the key may not; what comes after it knows whose request it is.

Open are only the two paths that an orchestrator asks, what a browser asks before it sends a key, and the page of the
playground where it is enabled. The key leaves the request here: nothing behind this middleware can log or forward it.
"""

from collections.abc import Mapping

from server.asgi import App, Receive, Scope, Send, answer, header, is_preflight
from server.errors import ApiError, refuse
from server.exchange import current_exchange
from server.keys.key import ADMIN, Key
from server.keys.source import KeySource
from server.settings import current

OPEN = frozenset(("/health", "/ready"))
METRICS = "/metrics"
PAGE = "/"
_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


class ApiKeys:
    """Checks the key of every request; without any configured key, everybody may do everything."""

    def __init__(self, app: App, source: KeySource | None = None, metrics_access: str | None = None) -> None:
        self.app = app
        settings = current()
        self.source = source or KeySource(settings.keys_path, settings.secret_key)
        self.metrics_access = metrics_access or settings.metrics_access
        # The playground holds nothing; what it asks the API carries a key.
        self.open = OPEN | ({PAGE} if settings.playground else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "lifespan" or not self.source.enabled:
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401})
            return
        given = header(scope["headers"], b"authorization")
        scope = {**scope, "headers": [item for item in scope["headers"] if item[0].lower() != b"authorization"]}
        if not self._open(scope):
            key = self._find(given)
            error = _unknown(given) if key is None else self._forbidden(scope, key)
            if error is not None:
                await answer(send, error, _CHALLENGE if error.status == 401 else ())
                return
            exchange = current_exchange()
            exchange.key = key
            exchange.gates.append(check_model)
        await self.app(scope, receive, send)

    def _open(self, scope: Scope) -> bool:
        if scope["path"] in self.open or (scope["path"] == METRICS and self.metrics_access == "open"):
            return True
        return is_preflight(scope)

    def _find(self, given: bytes) -> Key | None:
        scheme, _, secret = given.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        return self.source.ring().find(secret.strip().decode("latin-1"))

    def _forbidden(self, scope: Scope, key: Key) -> ApiError | None:
        if scope["path"] == METRICS and self.metrics_access == ADMIN and key.role != ADMIN:
            return ApiError(status=403, message="the metrics need the key of an admin")
        return None


async def check_model(body: Mapping[str, object]) -> None:
    """A gate of a request's body: whether its key may use the model it names.

    Raises:
        RefusedError: 403.
    """
    key = current_exchange().key
    model = body.get("model") or current().served_name
    if key is not None and isinstance(model, str) and not key.may_use(model):
        problem = f"this key may not use the model {model[:200]!r}; it may use {', '.join(key.models)}"
        raise refuse(403, problem, param="model", code="model_not_found")


def _unknown(given: bytes) -> ApiError:
    if not given:
        return ApiError(status=401, message="send an API key, as the header authorization: Bearer KEY")
    return ApiError(status=401, message="this API key is not known; look for a typing error, or ask for another one")
