"""The end on purpose: what runs finishes or is told why not, nothing new begins."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from server.asgi import Receive, Scope, Send
from server.life.drain import CODE, Drain
from server.middleware.errors import OpenAIErrors
from tests.support.asgi import error_of, post


class Stream:
    """Sends one event, and another when it is told to."""

    def __init__(self) -> None:
        self.going = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        await self.going.wait()
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def server() -> SimpleNamespace:
    return SimpleNamespace(server=SimpleNamespace(should_exit=False))


async def test_what_runs_finishes_and_nothing_begins() -> None:
    stream, state = Stream(), server()
    drain = Drain(stream, 60.0)
    running = asyncio.create_task(post(OpenAIErrors(drain)))
    await asyncio.sleep(0.05)
    drain.begin(state)
    drain.begin(state)
    refused = await post(OpenAIErrors(drain))
    assert refused.status_code == 503
    assert error_of(refused)["code"] == CODE
    assert (refused.headers["connection"], refused.headers["retry-after"]) == ("close", "1")
    assert state.quartet_ending
    assert not state.server.should_exit
    stream.going.set()
    assert (await running).text == "data: {}\n\ndata: [DONE]\n\n"
    assert drain.ending is not None
    await drain.ending
    assert state.server.should_exit


async def test_what_does_not_finish_is_told_why() -> None:
    state = server()
    drain = Drain(Stream(), 0.05)
    running = asyncio.create_task(post(OpenAIErrors(drain)))
    await asyncio.sleep(0.02)
    drain.begin(state)
    first, last, done, _ = (await running).text.split("\n\n")
    assert (first, done) == ("data: {}", "data: [DONE]")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == CODE
    assert drain.ending is not None
    await drain.ending
    assert state.server.should_exit
    assert not drain.running


async def test_an_answer_that_had_not_begun_is_a_503() -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    drain = Drain(waits, 0.05)
    running = asyncio.create_task(post(OpenAIErrors(drain)))
    await asyncio.sleep(0.02)
    drain.begin(server())
    response = await running
    assert response.status_code == 503
    assert error_of(response)["code"] == CODE


async def test_other_cancellations_stay_what_they_are() -> None:
    drain = Drain(Stream(), 60.0)
    running = asyncio.create_task(post(drain))
    await asyncio.sleep(0.02)
    assert drain.running
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not drain.running


async def test_an_idle_server_ends_at_once() -> None:
    state = server()
    drain = Drain(Stream(), 60.0)
    drain.begin(state)
    await asyncio.sleep(0.01)
    assert state.server.should_exit
