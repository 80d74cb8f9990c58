"""Limits of a key as a client sees them: 429, headers, and tokens set right after the answer."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from server.asgi import App, Receive, Scope, Send
from server.entrance import Entrance
from server.exchange import current_exchange
from server.keys.key import Key, hashed
from server.limits.answers import count_answers
from server.limits.counters import Counters
from server.limits.estimate import estimated_tokens
from server.limits.middleware import KeyLimits
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.requests import read
from tests.support.asgi import application, error_of, post

BODY = {"model": "m", "messages": [{"role": "user", "content": "a" * 40}], "max_tokens": 10}


class Named:
    """Stands for the keys: every request is this key's."""

    def __init__(self, app: App, key: Key | None) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current_exchange().key = self.key
        await self.app(scope, receive, send)


def key(**limits: Any) -> Key:
    return Key(name="a", hash=hashed("a"), **limits)


def limited(one: Key | None, tokens: int = 0, media: tuple[tuple[str, int], ...] = (), wait: Any = None) -> App:
    """A route that reads its body, decodes media of these sizes and has the engine use so many tokens."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await read(Request(scope, receive))
        exchange = current_exchange()
        for medium in media:
            for gate in exchange.media_gates:
                await gate(*medium)
        exchange.prompt_tokens, exchange.completion_tokens = tokens, 0
        if wait is not None:
            await wait()

        async def nothing() -> dict[str, str]:
            return {"type": "http.request"}

        await application(200, {})(scope, nothing, send)

    return RequestHeaders(Named(KeyLimits(OpenAIErrors(route), Counters()), one))


async def test_requests() -> None:
    app = limited(key(requests_per_minute=2))
    for remaining in ("1", "0"):
        response = await post(app, body=BODY)
        assert response.status_code == 200
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert response.headers["x-ratelimit-remaining-requests"] == remaining
        assert response.headers["x-ratelimit-reset-requests"] in ("59s", "60s")
    response = await post(app, body=BODY)
    assert response.status_code == 429
    assert (error_of(response)["type"], error_of(response)["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 55 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["x-ratelimit-remaining-requests"] == "0"


async def test_tokens_are_estimated_and_set_right() -> None:
    # Each request takes a quarter of its characters and its longest answer, and used 5.
    app = limited(key(tokens_per_minute=40), tokens=5)
    estimate = estimated_tokens(BODY, "messages")
    for used in (0, 5, 10):
        response = await post(app, body=BODY)
        assert response.status_code == 200
        assert response.headers["x-ratelimit-remaining-tokens"] == str(40 - used - estimate)
    app = limited(key(tokens_per_minute=40), tokens=39)
    assert (await post(app, body=BODY)).status_code == 200
    response = await post(app, body=BODY)
    assert response.status_code == 429
    assert response.headers["x-ratelimit-remaining-tokens"] == "1"
    assert "1 of 40 tokens a minute are left" in error_of(response)["message"]


async def test_what_never_fits_is_said() -> None:
    response = await post(limited(key(tokens_per_minute=40)), body=BODY | {"max_tokens": 100})
    assert response.status_code == 429
    assert "never fit" in error_of(response)["message"]


async def test_media() -> None:
    sizes = (("image", 600), ("image", 600), ("audio", 5))
    assert (await post(limited(key(image_pixels_per_minute=1200), media=sizes), body=BODY)).status_code == 200
    refused = await post(limited(key(image_pixels_per_minute=1199), media=sizes), body=BODY)
    assert refused.status_code == 429
    assert "599 of 1199 image pixels a minute are left, and this needs 600" in error_of(refused)["message"]
    refused = await post(limited(key(audio_seconds_per_minute=4), media=sizes), body=BODY)
    assert refused.status_code == 429


async def test_concurrent_requests() -> None:
    going = asyncio.Event()
    app = limited(key(concurrent_requests=2), wait=going.wait)
    running = [asyncio.create_task(post(app, body=BODY)) for _ in range(2)]
    await asyncio.sleep(0.05)
    refused = await post(app, body=BODY)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    going.set()
    assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]
    assert (await post(app, body=BODY)).status_code == 200


async def test_a_client_that_leaves_frees_its_place() -> None:
    app = limited(key(concurrent_requests=1), wait=asyncio.Event().wait)
    for _ in range(3):
        running = asyncio.create_task(post(app, body=BODY))
        await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_is_gone_refuses_when_told_so() -> None:
    from tests.support.serving import free_port

    async def unreached(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("reached")

    counters = Counters(f"redis://127.0.0.1:{free_port()}/0", "closed")
    app = RequestHeaders(Named(KeyLimits(unreached, counters), key(requests_per_minute=2)))
    response = await post(app, body=BODY)
    await counters.close()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("one", [None, key()])
async def test_no_limits_no_headers(one: Key | None) -> None:
    response = await post(limited(one), body=BODY)
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize(
    ("body", "prompt", "tokens"),
    [
        ({"prompt": "abcde"}, "prompt", 2),
        ({"prompt": [1, 2, 3]}, "prompt", 3),
        ({"prompt": "abcd", "max_tokens": 7, "n": 3}, "prompt", 22),
        ({"prompt": "abcd", "max_completion_tokens": 7, "max_tokens": 900}, "prompt", 8),
        ({"prompt": "", "max_tokens": -5, "n": "x"}, "prompt", 0),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x" * 9000}}]}]}, "messages", 3),
        ({}, None, 0),
    ],
)
def test_estimates(body: dict[str, Any], prompt: str | None, tokens: int) -> None:
    assert estimated_tokens(body, prompt) == tokens


@pytest.mark.parametrize(("kind", "lengths"), [("DELTA", (1, 2, 1)), ("CUMULATIVE", (1, 3, 4)), ("FINAL_ONLY", (4,))])
async def test_answers_are_counted_where_they_leave_the_engine(kind: str, lengths: tuple[int, ...]) -> None:
    closed = False

    class Engine:
        async def generate(self, prompt: str, sampling: Any, request_id: str) -> AsyncGenerator[Any, None]:
            nonlocal closed
            try:
                for length in lengths:
                    outputs = [SimpleNamespace(index=index, token_ids=[0] * length) for index in range(2)]
                    yield SimpleNamespace(outputs=outputs)
            finally:
                closed = True

    from server.exchange import Exchange, begin

    engine, sampling = Engine(), SimpleNamespace(output_kind=SimpleNamespace(name=kind))
    Entrance(engine).guards.append(count_answers)
    begin(Exchange(request_id=""))
    assert len([one async for one in engine.generate("", sampling, request_id="r")]) == len(lengths)
    assert current_exchange().completion_tokens == 8
    begin(Exchange(request_id=""))
    closed = False
    stream = engine.generate("", sampling, request_id="r")
    await anext(stream)
    await stream.aclose()
    assert closed
    assert current_exchange().completion_tokens == 2 * lengths[0]
