"""A block of requests under one load; the times of its requests are taken by whoever answers them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from server.bench.client import Outcome
from server.bench.plan import Level

# Sends the request of this number, so many seconds later than it should have been sent.
Ask = Callable[[int, float], Awaitable[Outcome]]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Requests to one server without another's in between."""

    outcomes: tuple[Outcome, ...]
    seconds: float
    """From the first request to the last answer."""
    cpu_seconds: float
    """What this process computed meanwhile."""


async def run(ask: Ask, count: int, level: Level, rng: np.random.Generator) -> Block:
    """Send `count` requests, as the level says."""
    begun, computed = time.perf_counter(), time.process_time()
    if level.concurrency is not None:
        outcomes = await closed_loop(ask, count, level.concurrency)
    else:
        assert level.rate is not None
        outcomes = await open_loop(ask, arrivals(count, level.rate, rng))
    return Block(
        outcomes=tuple(outcomes),
        seconds=time.perf_counter() - begun,
        cpu_seconds=time.process_time() - computed,
    )


async def closed_loop(ask: Ask, count: int, concurrency: int) -> list[Outcome]:
    """`concurrency` clients, each of which sends its next request when its last one is answered."""
    waiting = iter(range(count))
    outcomes: dict[int, Outcome] = {}

    async def client() -> None:
        for index in waiting:
            outcomes[index] = await ask(index, 0.0)

    await asyncio.gather(*(client() for _ in range(min(concurrency, count))))
    return [outcomes[index] for index in range(count)]


async def open_loop(ask: Ask, moments: Sequence[float]) -> list[Outcome]:
    """Requests at these moments, seconds from now, whether earlier ones are answered or not."""
    begun = time.perf_counter()
    tasks: list[asyncio.Task[Outcome]] = []

    async def at(index: int, moment: float) -> Outcome:
        return await ask(index, max(0.0, time.perf_counter() - begun - moment))

    for index, moment in enumerate(moments):
        await asyncio.sleep(max(0.0, moment - (time.perf_counter() - begun)))
        tasks.append(asyncio.ensure_future(at(index, moment)))
    return list(await asyncio.gather(*tasks))


def arrivals(count: int, rate: float, rng: np.random.Generator) -> list[float]:
    """Moments of a Poisson process with `rate` arrivals a second; the first is 0."""
    gaps = rng.exponential(1 / rate, max(count - 1, 0))
    return [0.0, *np.cumsum(gaps).tolist()][:count]
