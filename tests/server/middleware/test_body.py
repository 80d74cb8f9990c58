"""Size and pace of requests, with and without a declared length."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from server.asgi import Message, Receive, Scope, Send
from server.middleware.body import MIN_RATE, BodyLimits
from server.middleware.errors import OpenAIErrors
from tests.support.asgi import application, error_of, post, send_all


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    """What a route does: reads the body, then answers with its length."""
    body = await Request(scope, receive).body()
    await application(200, {"bytes": len(body)})(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.request"}


def limited(**limits: Any) -> BodyLimits:
    return BodyLimits(OpenAIErrors(reads_all), **{"max_bytes": 1000, "timeout": 5.0} | limits)


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("sizes", [(), (1000,), (500, 500), (1,) * 50])
async def test_what_fits_passes(sizes: tuple[int, ...]) -> None:
    whole = await post(limited(), body=b"x" * sum(sizes))
    in_pieces = await post(limited(), body=pieces(*sizes))
    assert whole.json() == in_pieces.json() == {"bytes": sum(sizes)}


@pytest.mark.parametrize("body", [b"x" * 1001, pieces(1001), pieces(400, 400, 400), pieces(999, 1, 1)])
async def test_what_does_not_fit_is_refused(body: Any) -> None:
    response = await post(limited(), body=body)
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    error = error_of(response)
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_too_large")
    assert "1000 bytes" in error["message"]


@pytest.mark.parametrize("length", ["1001", "9" * 30])
async def test_a_declared_length_is_refused_before_a_byte_is_read(length: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("reached")

    scope: Any = {"headers": [(b"content-length", length.encode())]}
    start, _ = await send_all(BodyLimits(app, 1000, 5.0), [], scope)
    assert start["status"] == 413


async def test_nothing_is_read_beyond_the_limit() -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 100

    assert (await post(limited(), body=endless())).status_code == 413
    assert asked <= 12


async def test_a_body_that_does_not_come_is_refused() -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    begun = time.monotonic()
    response = await post(limited(timeout=0.2), body=stalls())
    assert response.status_code == 408
    assert error_of(response)["type"] == "timeout_error"
    assert time.monotonic() - begun < 2


async def test_a_drip_does_not_hold_a_connection() -> None:
    """Each piece comes in time, the whole would take an hour."""

    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    assert (await post(limited(timeout=0.3), body=drips())).status_code == 408


async def test_a_slow_line_has_the_time_it_needs() -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * MIN_RATE  # a second's worth, every 0.2 seconds
            await asyncio.sleep(0.2)

    response = await post(limited(timeout=0.3, max_bytes=1 << 20), body=slow())
    assert response.json() == {"bytes": 4 * MIN_RATE}


async def test_after_the_body_the_connection_is_watched_without_a_limit() -> None:
    """A long answer is no slow request: waiting for a disconnect has no deadline."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        seen.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        if not hasattr(receive, "body"):
            receive.body = True  # type: ignore[attr-defined]
            return {"type": "http.request", "body": b"x", "more_body": False}
        await asyncio.sleep(0.3)
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await BodyLimits(app, 1000, 0.1)({"type": "http", "headers": []}, receive, send)
    assert seen == ["http.disconnect"]
    assert sent[0]["status"] == 200


async def test_errors_of_the_application_are_its_own() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await send_all(BodyLimits(app, 1000, 5.0), [])
