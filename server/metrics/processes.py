"""Memory, descriptors and threads of the server's processes, looked up when somebody asks."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator

import psutil
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.metrics import definitions as metrics

# Beginning of a process's title -> its part; vLLM names its own processes so.
PARTS = {
    "VLLM::EngineCore": "engine",
    "VLLM::Worker": "worker",
    "VLLM::APIServer": "api",
    "VLLM::DPCoordinator": "coordinator",
    "VLLM::ForkServer": "forkserver",
}
SERVER, OTHER = "server", "other"


class Processes(Collector):
    """Numbers of a moment.

    Args:
        tasks: of the event loop.
        alive: whether the engine lives.
    """

    def __init__(self, tasks: int, alive: bool) -> None:
        self._tasks, self._alive = tasks, alive

    def collect(self) -> Iterator[Metric]:
        """Each of the metrics that `definitions` marks as scraped."""
        yield _family(metrics.ENGINE_ALIVE, float(self._alive))
        yield _family(metrics.ASYNCIO_TASKS, self._tasks)
        memory, descriptors, threads = Counter[str](), Counter[str](), Counter[str]()
        for part, process in processes():
            try:
                with process.oneshot():
                    memory[part] += process.memory_info().rss
                    descriptors[part] += process.num_fds()
                    threads[part] += process.num_threads()
            except psutil.Error:
                continue  # it ended meanwhile, or is somebody else's
        for name, values in (
            (metrics.PROCESS_MEMORY, memory),
            (metrics.PROCESS_FDS, descriptors),
            (metrics.PROCESS_THREADS, threads),
        ):
            family = GaugeMetricFamily(name, metrics.DEFINED[name].help, labels=metrics.DEFINED[name].labels)
            for part, value in sorted(values.items()):
                family.add_metric([part], value)
            yield family


def processes() -> Iterator[tuple[str, psutil.Process]]:
    """The first process of the server and all that it started, each with its part."""
    parent = multiprocessing.parent_process()
    first = psutil.Process(os.getpid() if parent is None else parent.pid)
    yield SERVER, first
    for child in first.children(recursive=True):
        try:
            title = child.name() + " " + " ".join(child.cmdline()[:1])
        except psutil.Error:
            continue
        yield next((part for begin, part in PARTS.items() if begin in title), OTHER), child


def _family(name: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, metrics.DEFINED[name].help, value=value)
