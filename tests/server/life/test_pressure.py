"""How many requests run and wait, and that no turn is ever lost."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from server.asgi import Receive, Scope, Send
from server.life.pressure import BackPressure
from tests.support.asgi import application, error_of, post


class Busy:
    """An application that runs until it is told to end, and knows how many run at a time."""

    def __init__(self) -> None:
        self.going = asyncio.Event()
        self.running = self.most = self.served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.going.wait()
            await application(200, {})(scope, receive, send)
            self.served += 1
        finally:
            self.running -= 1


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_some_run_some_wait_the_rest_is_told_to_come_later() -> None:
    busy = Busy()
    app = BackPressure(busy, 2, 3, 60.0)
    begun = [asyncio.create_task(post(app)) for _ in range(5)]
    await settle()
    assert (busy.running, app.running, len(app.waiting)) == (2, 2, 3)
    refused = await post(app)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["connection"] == "close"
    assert error_of(refused)["code"] == "server_overloaded"
    busy.going.set()
    assert [response.status_code for response in await asyncio.gather(*begun)] == [200] * 5
    assert (busy.most, app.running, len(app.waiting)) == (2, 0, 0)


async def test_what_waits_is_not_read() -> None:
    busy, read = Busy(), 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"{}"

    app = BackPressure(busy, 1, 1, 60.0)
    first = asyncio.create_task(post(app))
    await settle()
    second = asyncio.create_task(post(app, body=body()))
    await settle()
    assert (len(app.waiting), read) == (1, 0)
    busy.going.set()
    await asyncio.gather(first, second)
    assert read == 1


async def test_nobody_waits_for_ever() -> None:
    busy = Busy()
    app = BackPressure(busy, 1, 1, 0.05)
    first = asyncio.create_task(post(app))
    await settle()
    assert (await post(app)).status_code == 503
    busy.going.set()
    assert (await first).status_code == 200
    assert (app.running, len(app.waiting)) == (0, 0)


async def test_questions_about_the_server_do_not_wait() -> None:
    busy = Busy()

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (busy if scope["method"] == "POST" else application(200, {}))(scope, receive, send)

    app = BackPressure(either, 1, 0, 60.0)
    first = asyncio.create_task(post(app))
    await settle()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        assert (await client.get("/health")).status_code == 200
    busy.going.set()
    await first


@settings(max_examples=60, deadline=None)
@given(
    leaving=st.lists(st.booleans(), min_size=1, max_size=20),
    running=st.integers(1, 4),
    waiting=st.integers(0, 6),
    at_once=st.booleans(),
)
def test_no_turn_is_lost(leaving: list[bool], running: int, waiting: int, at_once: bool) -> None:
    async def scenario() -> None:
        busy = Busy()
        app = BackPressure(busy, running, waiting, 60.0)
        tasks = [asyncio.create_task(post(app)) for _ in leaving]
        await settle()
        refused = sum(task.done() for task in tasks)
        assert refused == max(len(leaving) - running - waiting, 0)
        if at_once:
            # Turns are given while their takers leave.
            busy.going.set()
        for task, leaves in zip(tasks, leaving, strict=True):
            if leaves:
                task.cancel()
        await settle()
        busy.going.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await settle()
        assert (app.running, len(app.waiting), busy.running) == (0, 0, 0)
        assert busy.most <= running

    asyncio.run(scenario())
