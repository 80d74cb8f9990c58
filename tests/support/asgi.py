"""Small applications and calls for tests of middleware: ASGI in this process, no server."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx

from server.asgi import App, Message, Receive, Scope, Send

BODY = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


def application(
    status: int = 200,
    body: object = b"",
    *,
    content_type: str = "application/json",
    act: Callable[[], None] = lambda: None,
    pieces: Sequence[bytes] | None = None,
) -> App:
    """Reads the request, acts, answers in two pieces or in the given ones."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        act()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        parts = list(pieces) if pieces is not None else [data[:5], data[5:]]
        headers = [(b"content-type", content_type.encode()), (b"x-mine", b"1")]
        if pieces is None or len(parts) == 1:
            headers.append((b"content-length", str(sum(map(len, parts))).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for index, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": index < len(parts) - 1})

    return app


async def post(app: App, path: str = "/v1/chat/completions", body: object = BODY, **headers: str) -> httpx.Response:
    """One request; what the application raises becomes a 500 without a body, as in a server."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        if isinstance(body, bytes | AsyncIterator):
            return await client.post(path, content=body, headers=sent)
        return await client.post(path, json=body, headers=sent)


async def send_all(app: App, messages: Sequence[Message], scope: Scope | None = None) -> list[Message]:
    """Call an application with these messages; what it sends."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    whole = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [], **(scope or {})}
    result: Awaitable[None] = app(whole, receive, send)
    await result
    return sent


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error in an answer, its form checked."""
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return dict(body["error"])
