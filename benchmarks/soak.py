"""Soak test: thousands of requests with pictures and sounds, many of them malformed or left in the middle of a stream.

    python benchmarks/soak.py --requests 3000 --output soak.json
    python benchmarks/soak.py --requests 3000 --url http://127.0.0.1:8000 --pid 1234 --model demo

Without `--url` it starts a server with a tiny random model on this machine. It ends with status 1 if anything does not
add up: an answer that was not intended, a counter of the server that is not what the clients did, a descriptor, task or
temporary file left behind. Memory is reported: resident size of every process, and its slope over the requests after a
warm-up. Where keys are on, OPENAI_API_KEY holds an admin's.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.soak_plan import CANCELLED, GOOD, PATH, Planned, plan
from tests.support.metrics import Scrape

# Seconds between two looks at the processes, until the server closes what is idle, and for it to settle.
INTERVAL = 1.0
KEEP_ALIVE = 7.0
SETTLE = 60.0
# Share of the requests that warms the server up: caches fill, arenas grow.
WARM_UP = 0.3
MEBIBYTE = 1 << 20
# Blocks of 128 tokens in the engine's key-value cache. Its memory is taken when a block is first written, and all
# blocks are used in turn: so few that the warm-up writes them all.
BLOCKS = 256
# Kernels that oneDNN keeps, each made for one number of tokens. By default 1024, which take thousands of requests to
# make, 40 KiB for each; that would hide whatever else grows.
KERNELS = 64


@dataclass
class Watched:
    """One process: resident bytes, each with how many requests were done."""

    name: str
    pid: int
    points: list[tuple[int, int]] = field(default_factory=list)

    def slope(self, after: int) -> float:
        """Bytes a request, by least squares over the points after so many requests."""
        points = [(x, y) for x, y in self.points if x >= after]
        mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
        square = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0


@dataclass
class Standing:
    """What a server holds on to."""

    descriptors: int
    tasks: int
    temporary_files: int


class Soak:
    """One run against one server."""

    def __init__(self, url: str, pid: int, model: str, temporary: Path | None, key: str | None = None) -> None:
        self.url, self.model, self.temporary = url, model, temporary
        self._server = psutil.Process(pid)
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self.done = 0
        self.statuses: Counter[str] = Counter()
        self.unintended: list[str] = []
        self.processes: dict[int, Watched] = {}

    async def run(self, requests: int, concurrency: int, seed: int) -> dict[str, Any]:
        """Do it all; the report."""
        planned = plan(requests, seed, self.model)
        warm_up = round(requests * WARM_UP)
        limits = httpx.Limits(max_connections=concurrency + 4)
        async with httpx.AsyncClient(
            base_url=self.url, headers=self._headers, timeout=300, limits=limits, verify=False
        ) as self._client:
            card = (await self._client.get(f"/v1/models/{self.model}")).json()
            self._tokens = {modality: limits["tokens"] for modality, limits in card["media"].items()}
            before = await self._scrape()
            began = time.perf_counter()
            watcher = asyncio.create_task(self._watch())
            await self._all(planned[:warm_up], concurrency)
            standing = await self._settled()
            await self._all(planned[warm_up:], concurrency)
            seconds = time.perf_counter() - began
            left = await self._settled(standing)
            watcher.cancel()
            added = await self._scrape() - before
        problems = [*self.unintended, *self._sums(planned, added), *_left_behind(standing, left)]
        return {
            "requests": requests,
            "kinds": dict(Counter(one.kind for one in planned)),
            "media": sum(len(one.media) for one in planned),
            "concurrency": concurrency,
            "seed": seed,
            "seconds": round(seconds, 1),
            "statuses": dict(sorted(self.statuses.items())),
            "memory": [
                {
                    "process": watched.name,
                    "after_warm_up_mib": round(next(y for x, y in watched.points if x >= warm_up) / MEBIBYTE, 1),
                    "at_the_end_mib": round(watched.points[-1][1] / MEBIBYTE, 1),
                    "slope_kib_per_1000_requests": round(watched.slope(warm_up) * 1000 / 1024, 1),
                }
                for watched in self.processes.values()
                if watched.points and watched.points[-1][0] > warm_up
            ],
            "after_warm_up": asdict(standing),
            "at_the_end": asdict(left),
            "problems": problems,
        }

    async def _all(self, planned: list[Planned], concurrency: int) -> None:
        waiting = iter(planned)

        async def work() -> None:
            for one in waiting:
                await self._send(one)
                self.done += 1

        await asyncio.gather(*(work() for _ in range(concurrency)))

    async def _send(self, one: Planned) -> None:
        try:
            if one.kind == CANCELLED:
                async with self._client.stream("POST", PATH, content=one.body, headers=one.headers) as response:
                    status = response.status_code
                    async for _ in response.aiter_raw(1):
                        break
            else:
                response = await self._client.post(PATH, content=one.body, headers=one.headers)
                status = response.status_code
                if (
                    one.kind == GOOD
                    and status == 200
                    and one.streams
                    and not response.text.endswith("data: [DONE]\n\n")
                ):
                    self.unintended.append(f"{one.name}: a stream without an end")
        except httpx.HTTPError as error:
            self.unintended.append(f"{one.name}: {type(error).__name__}")
            return
        self.statuses[str(status)] += 1
        if status != one.status:
            self.unintended.append(f"{one.name}: {status} instead of {one.status}")

    async def _watch(self) -> None:
        while True:
            for process in [self._server, *self._server.children(recursive=True)]:
                try:
                    name, memory = process.name(), process.memory_info().rss
                except psutil.Error:
                    continue
                self.processes.setdefault(process.pid, Watched(name, process.pid)).points.append((self.done, memory))
            await asyncio.sleep(INTERVAL)

    async def _scrape(self) -> Scrape:
        response = await self._client.get("/metrics")
        return Scrape.parse(response.raise_for_status().text)

    async def _settled(self, wanted: Standing | None = None) -> Standing:
        """What is held when nothing is going on; waits a while for what is `wanted`, as connections close late."""
        await asyncio.sleep(KEEP_ALIVE)
        deadline = time.monotonic() + SETTLE
        while True:
            scrape = await self._scrape()
            # The scrape itself is in flight.
            idle = scrape.total("quartet_requests_in_flight") <= 1 and scrape.total("quartet_media_pending") == 0
            standing = Standing(
                descriptors=round(scrape.total("quartet_process_open_fds")),
                tasks=round(scrape.total("quartet_asyncio_tasks")),
                temporary_files=sum(1 for _ in self.temporary.rglob("*")) if self.temporary else 0,
            )
            if (idle and (wanted is None or not _left_behind(wanted, standing))) or time.monotonic() > deadline:
                return standing
            await asyncio.sleep(1)

    def _sums(self, planned: list[Planned], added: Scrape) -> list[str]:
        """Where the server's counters differ from what was done."""
        by_status = {status: count for (status,), count in added.by("quartet_requests_total", "status").items()}
        scrapes = added.total("quartet_requests_total", route="/metrics")
        by_status["200"] = by_status.get("200", 0) - scrapes
        kinds = Counter(one.kind for one in planned)
        media = Counter(modality for one in planned for modality in one.media)
        tokens = sum(count * self._tokens[modality] for modality, count in media.items())
        outcomes = {outcome: count for (outcome,), count in added.by("quartet_media_items_total", "outcome").items()}
        pairs = {
            "answers by status": (dict(self.statuses), {key: int(value) for key, value in by_status.items() if value}),
            "refusals": (
                sum(count for status, count in self.statuses.items() if status >= "400"),
                added.total("quartet_rejected_requests_total"),
            ),
            "clients that left": (kinds[CANCELLED], added.total("quartet_client_disconnects_total")),
            "streams that failed": (0, added.total("quartet_stream_errors_total")),
            "media read": (media.total(), outcomes.get("decoded", 0) + outcomes.get("cached", 0)),
            "media refused": (sum(one.refused for one in planned), outcomes.get("refused", 0)),
            "media abandoned": (0, outcomes.get("abandoned", 0)),
            "tokens of media": (tokens, added.total("quartet_prompt_media_tokens_total")),
            "durations": (sum(by_status.values()), added.total("quartet_request_duration_seconds_count") - scrapes),
        }
        return [f"{name}: {did} done, {said} counted" for name, (did, said) in pairs.items() if did != said]


def _left_behind(before: Standing, after: Standing) -> list[str]:
    return [
        f"{name.replace('_', ' ')}: {value} after the warm-up, {asdict(after)[name]} at the end"
        for name, value in asdict(before).items()
        # Two for the connection and the task of a scrape that ends late.
        if asdict(after)[name] > value + 2
    ]


def start_tiny(stack: ExitStack) -> tuple[str, int, Path]:
    """A server with a tiny random model; it ends with the stack. Its URL, process and temporary directory."""
    from model.adapter import AdapterConfig
    from tests.support.serving import ServerProcess
    from tests.support.tiny import build_checkpoint

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    temporary = folder / "tmp"
    temporary.mkdir()
    checkpoint = build_checkpoint(folder / "tiny", adapter=AdapterConfig(rank=4, scope="media"))
    os.environ |= {"TMPDIR": str(temporary), "ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(KERNELS)}
    server = ServerProcess.start(checkpoint, folder, "--", "--num-gpu-blocks-override", str(BLOCKS)).wait()
    stack.callback(server.stop)
    return server.url, server.process.pid, temporary


def table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    rows = ["| process | after warm-up, MiB | at the end, MiB | slope, KiB per 1000 requests |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(str(value) for value in entry.values()) + " |" for entry in report["memory"]]
    rows += ["", "| held | after warm-up | at the end |", "|---|---|---|"]
    rows += [
        f"| {name.replace('_', ' ')} | {value} | {report['at_the_end'][name]} |"
        for name, value in report["after_warm_up"].items()
    ]
    return "\n".join(rows)


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a running server on this machine; by default one is started")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--model", default="tiny", help="its model id")
    parser.add_argument("--output", type=Path, help="where the report goes, as JSON")
    given = parser.parse_args()
    key = os.environ.get("OPENAI_API_KEY")
    with ExitStack() as stack:
        url, pid, temporary = (given.url, given.pid, None) if given.url else start_tiny(stack)
        report = asyncio.run(
            Soak(url, pid, given.model, temporary, key).run(given.requests, given.concurrency, given.seed)
        )
    if given.output:
        given.output.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "memory"}, indent=2))
    print(table(report))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
