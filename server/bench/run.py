"""A whole run: every level, and in it the servers by turns, so that what changes meanwhile changes for both."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import numpy as np

from server.bench.client import Client, Outcome
from server.bench.load import Block, run
from server.bench.plan import Level, Plan, Target
from server.bench.workload import Asked, Workload

# Told after every block: the level, how many requests are answered of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured at one level: the blocks of each server, in order; those of one number belong together."""

    level: Level
    blocks: tuple[list[Block], ...]


@dataclass
class _Server:
    client: Client
    model: str
    ids: dict[tuple[str, int], str] = field(default_factory=dict)


async def measure(plan: Plan, targets: Sequence[Target], progress: Progress = lambda *_: None) -> list[Result]:
    """Run `plan` against one server, or against several by turns.

    Raises:
        BenchError: a server is not there, or has no model or no files.
        ConfigurationError: the folder of media has none.
    """
    workload = Workload(plan)
    async with AsyncExitStack() as stack:
        servers: list[_Server] = []
        for target in targets:
            client = await stack.enter_async_context(Client(target, plan.timeout))
            servers.append(_Server(client, await client.model()))
        results: list[Result] = []
        for index, level in enumerate(plan.levels):
            results.append(await _level(workload, index, level, servers, progress))
        return results


async def _level(
    workload: Workload, index: int, level: Level, servers: Sequence[_Server], progress: Progress
) -> Result:
    plan = workload.plan
    blocks: tuple[list[Block], ...] = tuple([] for _ in servers)
    done = 0
    for number, asked in enumerate(workload.level(index, level)):
        for turn in turns(number, len(servers)):
            # The same arrivals for both servers.
            rng = np.random.default_rng((plan.seed, index, number))
            block = await _block(workload, servers[turn], asked, level, rng)
            if number > 0:
                blocks[turn].append(block)
                done += len(asked)
                progress(level.label, done, plan.requests * len(servers))
    return Result(level=level, blocks=blocks)


def turns(number: int, servers: int) -> Iterator[int]:
    """Whose turn it is in the blocks of this number: there and back again, so that a drift cancels out."""
    order = range(servers)
    yield from order if number % 2 else reversed(order)


async def _block(
    workload: Workload, server: _Server, asked: Sequence[Asked], level: Level, rng: np.random.Generator
) -> Block:
    by_id = server.client.target.send == "file"
    # Made before the clock runs; with ids, they are known only when the media are uploaded, which is part of the work.
    bodies = [] if by_id else [workload.body(one, server.client.target, server.model, {}) for one in asked]
    if by_id:
        for one in asked:
            for medium in one.media:
                workload.medium(*medium)

    async def ask(index: int, late: float) -> Outcome:
        one = asked[index]
        if by_id:
            # As a client does that has several new files.
            new = [medium for medium in dict.fromkeys(one.media) if medium not in server.ids]
            uploads = (server.client.upload(workload.medium(*medium), f"{medium[0]}-{medium[1]}") for medium in new)
            server.ids.update(zip(new, await asyncio.gather(*uploads), strict=True))
        body = bodies[index] if bodies else workload.body(one, server.client.target, server.model, server.ids)
        kinds = [modality for modality, _ in one.media]
        counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        return await server.client.ask(body, Outcome(started=0.0, media=counted, repeated=one.repeated, late=late))

    return await run(ask, len(asked), level, rng)
