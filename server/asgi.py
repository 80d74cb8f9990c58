"""The ASGI types, and how a middleware answers by itself."""

from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping
from typing import Any

from server.errors import ApiError
from server.exchange import current_exchange

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]
# What an answer's headers say about its body.
_OF_THE_BODY = (b"content-length", b"content-type", b"transfer-encoding")


class _Held:
    """Nothing to wait for, however often it is awaited."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


# What a `send` gives for a message that it keeps. A piece of a stream goes through a `send` of every middleware, so
# these are no coroutines: they look at it and give what the next one gives, and only the server's own is awaited.
HELD = _Held()


async def answer(send: Send, error: ApiError, headers: Headers = ()) -> None:
    """Send a whole error answer; of `headers`, those that describe another body are left out."""
    kept = [(name, value) for name, value in headers if name.lower() not in _OF_THE_BODY]
    body = error.body()
    current_exchange().error_code = error.content["code"]
    described = [*kept, *error.headers(kept), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": described})
    await send({"type": "http.response.body", "body": body})


def header(headers: Headers, name: bytes) -> bytes:
    """The value of a header, empty if it is not there; `name` in lower case."""
    return next((value for key, value in headers if key.lower() == name), b"")


def is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what a page may send; the middleware for browsers answers it and nothing else."""
    given = scope["headers"]
    asks = header(given, b"access-control-request-method")
    return scope["method"] == "OPTIONS" and bool(asks) and bool(header(given, b"origin"))
