"""Counters in memory and in a real Redis, and what holds while it is gone."""

import asyncio
import logging
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import redis

from model.errors import ConfigurationError
from server.errors import RefusedError
from server.limits import counters
from server.limits.counters import WINDOW, Counters
from tests.support.serving import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


class Redis:
    """A server on a loopback port that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAM, *options, "--dir", str(self.folder)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20

        while time.monotonic() < deadline:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise RuntimeError((self.folder / "redis.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    if PROGRAM is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def counters_of() -> AsyncIterator[Callable[..., Counters]]:
    """Makes counters and closes them."""
    made: list[Counters] = []

    def make(*arguments: Any) -> Counters:
        made.append(Counters(*arguments))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest, counters_of: Callable[..., Counters]) -> Callable[[], Counters]:
    """Makes counters that share what they count, if there is a store; in memory the same one again."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
        return lambda: counters_of(url, "closed")
    one = counters_of()
    return lambda: one


async def test_a_limit_holds_over_all_servers(make: Callable[[], Counters]) -> None:
    first, second = make(), make()
    assert [(await first.take("a", "requests", 3, 1)).remaining for _ in range(2)] == [2, 1]
    standing = await second.take("a", "requests", 3, 1)
    assert (standing.granted, standing.limit, standing.remaining) == (True, 3, 0)
    assert WINDOW - 5 < standing.reset <= WINDOW
    refused = await first.take("a", "requests", 3, 1)
    assert (refused.granted, refused.remaining) == (False, 0)
    # Neither another key nor another kind is meant.
    assert (await first.take("b", "requests", 3, 3)).granted
    assert (await first.take("a", "tokens", 3, 3)).granted


async def test_what_is_refused_uses_nothing(make: Callable[[], Counters]) -> None:
    one = make()
    assert (await one.take("a", "image_pixels", 25_000_000, 20_000_000)).remaining == 5_000_000
    for _ in range(3):
        assert not (await one.take("a", "image_pixels", 25_000_000, 6_000_000)).granted
    assert (await one.take("a", "image_pixels", 25_000_000, 5_000_000)).granted


async def test_many_at_once_never_get_more(make: Callable[[], Counters]) -> None:
    one = make()
    granted = await asyncio.gather(*(one.take("a", "requests", 10, 1) for _ in range(50)))
    assert sum(standing.granted for standing in granted) == 10


async def test_corrections(make: Callable[[], Counters]) -> None:
    one = make()
    taken = await one.take("a", "tokens", 100, 80)
    assert taken.remaining == 20
    await one.correct("a", "tokens", 100, -50, taken.ends)
    assert (await one.take("a", "tokens", 100, 0)).remaining == 70
    await one.correct("a", "tokens", 100, 90, taken.ends)
    assert (await one.take("a", "tokens", 100, 0)).remaining == 0
    # What was taken in a window that is over is not given back in this one.
    await one.correct("a", "tokens", 100, -100, taken.ends - WINDOW)
    assert (await one.take("a", "tokens", 100, 0)).remaining == 0
    await one.correct("b", "tokens", 100, -100, taken.ends)
    assert (await one.take("b", "tokens", 100, 0)).remaining == 100


@pytest.mark.parametrize("without_store", ["open", "closed"])
async def test_a_store_that_goes_and_returns(
    redis_server: Redis,
    counters_of: Callable[..., Counters],
    without_store: Literal["open", "closed"],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(counters, "PAUSE", 0.1)
    caplog.set_level(logging.ERROR)
    one = counters_of(redis_server.url, without_store)
    assert (await one.take("a", "requests", 5, 1)).remaining == 4
    redis_server.stop()
    if without_store == "open":
        # Counted here alone, from the beginning, and still limited.
        granted = [(await one.take("a", "requests", 5, 1)).granted for _ in range(6)]
        assert granted == [True] * 5 + [False]
    else:
        with pytest.raises(RefusedError) as refused:
            await one.take("a", "requests", 5, 1)
        assert (refused.value.error.status, refused.value.error.code) == (503, "limits_unavailable")
    assert "does not answer" in caplog.text
    assert "127.0.0.1" not in caplog.text
    redis_server.start()
    await asyncio.sleep(0.15)
    assert (await one.take("a", "requests", 5, 1)).remaining == 4


async def test_an_absent_store_is_asked_once_in_a_while(
    counters_of: Callable[..., Counters], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = counters_of(f"redis://127.0.0.1:{free_port()}/0", "open")
    monkeypatch.setattr(counters, "PAUSE", 1000.0)
    for _ in range(100):
        await one.take("a", "requests", 1000, 1)
    assert caplog.text.count("does not answer") == 1
    monkeypatch.setattr(one, "_paused_until", 0.0)
    await one.take("a", "requests", 1000, 1)
    assert caplog.text.count("does not answer") == 2


@pytest.mark.parametrize("url", ["http://a", "memory://", "a:1"])
def test_other_stores_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="limits_url"):
        Counters(url)
