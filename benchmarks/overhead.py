"""What Quartet's server costs over bare vLLM, and what it saves: both serve the same model, asked by turns.

    python benchmarks/overhead.py [--model DIR | --tiny] [--size 2048x1536] [--requests 40] [--starts 1] [--json FILE]
                                  [--only NAME]

Bare vLLM is its own API server with the same flags and the same model in it, without our middleware, routes and media
connector, and with its own cache of media (`bare_vllm.py`); an adapter for media is switched on by vLLM's
`--default-mm-loras`. Both servers and the client share the machine, so beside times there is the CPU time that each
server's processes took per request, which depends less on what else runs.

Two starts of the same server differ by more than the requests to one of them do: memory and threads lie elsewhere. With
`--starts`, everything is done again with fresh servers, started in the other order each time, and what counts is the
geometric mean over the starts with its interval of 95 % (Student's t).
"""

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.adapter import ADAPTER, MEDIA
from model.configuration import QuartetConfig
from server.bench.plan import Level, Plan, Target
from server.bench.report import as_json, show
from server.bench.run import measure
from server.launcher import prepare
from server.settings import DEMO_MODEL, ServerSettings
from tests.support.serving import free_port
from tests.support.tiny import ENCODERS, build_checkpoint

PATIENCE = 1200.0
# What the server has to reach: (figure, limit, whether more is better).
LIMITS = (("e2e_p50", 1.03, False), ("requests_per_second", 0.97, True))
REPEATED = (("requests_per_second", 1.5, True),)
# CLIP as it sees pictures, 224 pixels in patches of 32, and so narrow that it costs a CPU as little as the real one
# costs a GPU: what is left is what the CPU of a server does whose model runs on a GPU.
LIGHT = {
    "family": "clip",
    "config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 224,
        "patch_size": 32,
    },
}


@dataclass
class Running:
    """One server."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        root = psutil.Process(self.process.pid)
        return sum(sum(part.cpu_times()[:2]) for part in [root, *root.children(recursive=True)])

    def wait(self, path: str) -> None:
        """Return once `path` answers 200; a failed start raises with the end of the log."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(self.url.removesuffix("/v1") + path, timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"the server did not start\n{self.log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """Ask it to end, then make it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start(command: Sequence[str], environment: dict[str, str], port: int, log: Path) -> Running:
    """A server's process, in a group of its own."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Running(process, f"http://127.0.0.1:{port}/v1", log)


def ours(settings: ServerSettings, port: int, folder: Path) -> Running:
    """What `quartet serve` becomes."""
    environment = settings.model_copy(update={"port": port}).environment(os.environ)
    return start([sys.executable, "-m", "server.launcher"], environment, port, folder / "ours.log")


def bare(settings: ServerSettings, port: int, folder: Path) -> Running:
    """The server of vLLM itself, with the same flags, without what is ours but the model."""
    flags = prepare(settings.model_copy(update={"port": port}))
    # Ours is switched off for a line of our own; vLLM's server, as it comes, writes one for a request too.
    flags.remove("--disable-uvicorn-access-log")
    while "--middleware" in flags:
        at = flags.index("--middleware")
        del flags[at : at + 2]
    directory = Path(flags[flags.index("--model") + 1])
    config = QuartetConfig.from_pretrained(directory)
    if config.adapter_scope == MEDIA:
        chosen = dict.fromkeys(config.modality_specs, str(directory / ADAPTER))
        flags += ["--default-mm-loras", json.dumps(chosen), "--max-loras", str(len(chosen))]
    environment = settings.environment(os.environ) | {
        "VLLM_PLUGINS": "quartet",
        "VLLM_MEDIA_CONNECTOR": "http",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    command = [sys.executable, str(Path(__file__).with_name("bare_vllm.py")), *flags]
    return start(command, environment, port, folder / "bare.log")


def scenarios(
    requests: int, words: int, tokens: int, size: tuple[int, int]
) -> dict[str, tuple[Plan, str, tuple[tuple[str, float, bool], ...]]]:
    """Name -> what to ask, how ours is sent media, what is to be reached. `size` is that of repeated pictures."""
    common: dict[str, Any] = {"text_words": words, "output_tokens": tokens}
    one, many = (Level(concurrency=1),), (Level(concurrency=16),)
    pictures = common | {"images": 8, "image_size": size, "output_tokens": 4, "repeat_share": 0.8}
    four = (Level(concurrency=4),)
    return {
        "text, 1 at a time": (Plan(levels=one, requests=requests, **common), "base64", LIMITS),
        "text, 16 at a time": (Plan(levels=many, requests=4 * requests, block=32, **common), "base64", LIMITS),
        "picture, 1 at a time": (Plan(levels=one, requests=requests, images=1, **common), "base64", LIMITS),
        "picture, 16 at a time": (
            Plan(levels=many, requests=4 * requests, block=32, images=1, **common), "base64", LIMITS,
        ),
        "8 pictures, 80 % repeated": (Plan(levels=four, requests=requests, block=4, **pictures), "base64", REPEATED),
        "8 pictures, 80 % repeated, by id": (
            Plan(levels=four, requests=requests, block=4, seed=1, **pictures), "file", REPEATED,
        ),
    }  # fmt: skip


def run(plan: Plan, send: Any, servers: Sequence[Running]) -> dict[str, Any]:
    """One scenario: the report, and the CPU seconds a request took in each server."""
    targets = [
        Target(name="quartet", url=servers[0].url, send=send),
        Target(name="vllm", url=servers[1].url),
    ]
    before = [server.cpu() for server in servers]
    report = as_json(plan, targets, asyncio.run(measure(plan, targets)))
    count = plan.requests + plan.warm_up
    spent = [(server.cpu() - start) / count for server, start in zip(servers, before, strict=True)]
    report["cpu_seconds_per_request"] = dict(zip(("quartet", "vllm"), spent, strict=True))
    return report


def verdicts(report: dict[str, Any], limits: Sequence[tuple[str, float, bool]]) -> list[str]:
    """A line for each limit, and one for the CPU time."""
    ratios = report["levels"][0]["ratios"]
    lines = []
    for name, limit, more in limits:
        ratio = ratios[name]
        interval = f"[{ratio['low']:.3f}, {ratio['high']:.3f}]" if ratio["low"] is not None else "[-]"
        lines.append(f"{name} {ratio['value']:.3f} {interval}, {wanted(ratio['value'], limit, more)}")
    spent = report["cpu_seconds_per_request"]
    lines.append(f"CPU per request {spent['quartet']:.4f} s / {spent['vllm']:.4f} s = {cpu_ratio(report):.3f}")
    return lines


def wanted(value: float, limit: float, more: bool) -> str:
    """What was to be reached, and whether it was."""
    return f"wanted {'>=' if more else '<='} {limit}: {value >= limit if more else value <= limit}"


def cpu_ratio(report: dict[str, Any]) -> float:
    """Of CPU time per request."""
    spent = report["cpu_seconds_per_request"]
    return float(spent["quartet"] / spent["vllm"])


def summary(reports: Sequence[dict[str, Any]], limits: Sequence[tuple[str, float, bool]]) -> list[str]:
    """A line for each limit over several starts of the servers, and one for the CPU time."""
    lines = []
    for name, limit, more in limits:
        values = [report["levels"][0]["ratios"][name]["value"] for report in reports]
        lines.append(f"{name} {over_starts(values)}, {wanted(statistics.geometric_mean(values), limit, more)}")
    return [*lines, f"CPU per request {over_starts([cpu_ratio(report) for report in reports])}"]


def over_starts(ratios: Sequence[float]) -> str:
    """Geometric mean, its interval and every value."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, margin = statistics.mean(logs), math.nan
    if len(logs) > 1:
        margin = float(student.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(mean - margin), math.exp(mean + margin)
    each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return f"{math.exp(mean):.3f} [{low:.3f}, {high:.3f}] over {len(ratios)} starts ({each})"


def main() -> None:
    """Start both servers, ask, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=str(DEMO_MODEL), help="checkpoint directory [default: the demo model]")
    parser.add_argument("--tiny", action="store_true", help="a tiny random model: what is left is the server's share")
    parser.add_argument("--dtype", default="auto", help="number format of the language model")
    parser.add_argument("--requests", type=int, default=40, help="requests to each server at concurrency 1")
    parser.add_argument("--words", type=int, default=32, help="words of text in a request")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of every answer")
    parser.add_argument("--size", default="2048x1536", help="of the repeated pictures, pixels")
    parser.add_argument("--only", action="append", help="scenarios whose name begins so; several times for several")
    parser.add_argument("--starts", type=int, default=1, help="times that both servers are started")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    # The servers are in process groups of their own and must not outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    width, height = map(int, options.size.split("x"))
    planned = scenarios(options.requests, options.words, options.tokens, (width, height))
    console = Console(highlight=False, width=110)
    reports: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ENCODERS["light"] = LIGHT
        model = str(build_checkpoint(Path(folder), image="light")) if options.tiny else options.model
        settings = ServerSettings(model=model, dtype=options.dtype, name="model")
        for number in range(options.starts):
            with both(settings, Path(folder), ours_first=number % 2 == 0) as servers:
                for name, (plan, send, limits) in planned.items():
                    if options.only and not any(name.startswith(only) for only in options.only):
                        continue
                    reports.setdefault(name, []).append(run(plan, send, servers))
                    console.rule(f"{name}, start {number + 1} of {options.starts}", align="left")
                    show(console, reports[name][-1])
                    for line in verdicts(reports[name][-1], limits):
                        console.print(line, markup=False)
                    if options.json:
                        options.json.write_text(json.dumps(reports, indent=2) + "\n")
    if options.starts > 1:
        for name, several in reports.items():
            console.rule(name, align="left")
            for line in summary(several, planned[name][2]):
                console.print(line, markup=False)


@contextmanager
def both(settings: ServerSettings, folder: Path, *, ours_first: bool) -> Iterator[list[Running]]:
    """Our server and vLLM's own, ready; they are stopped at the end."""
    starters: list[tuple[Callable[[ServerSettings, int, Path], Running], str]] = [(ours, "/ready"), (bare, "/health")]
    servers: list[Running] = []
    order = starters if ours_first else starters[::-1]
    try:
        for begin, _ in order:
            servers.append(begin(settings, free_port(), folder))
        for server, (_, path) in zip(servers, order, strict=True):
            server.wait(path)
        yield servers if ours_first else servers[::-1]
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
