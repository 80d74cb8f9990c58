"""What is looked up at a scrape, and what several processes leave in one store."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from server.metrics import definitions as metrics
from server.metrics.processes import Processes
from server.scratch import METRICS, new_scratch
from tests.support.metrics import Scrape


def test_processes_of_the_server_and_its_children() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        registry = CollectorRegistry()
        registry.register(Processes(tasks=3, alive=True))
        found = Scrape.parse(generate_latest(registry).decode())
    finally:
        child.communicate(b"\n")
    assert found.total(metrics.ASYNCIO_TASKS) == 3
    assert found.total(metrics.ENGINE_ALIVE) == 1
    for name in (metrics.PROCESS_MEMORY, metrics.PROCESS_FDS, metrics.PROCESS_THREADS):
        # Beside them the servers that other tests of the same run have started.
        assert {("server",), ("other",)} <= set(found.by(name, "process"))
    open_files = len(os.listdir("/proc/self/fd"))
    assert abs(found.total(metrics.PROCESS_FDS, process="server") - open_files) < 5
    assert found.total(metrics.PROCESS_MEMORY, process="server") > 10e6


WRITER = """
import sys
from server.metrics import definitions as metrics
metrics.KEYS_RELOAD_FAILURES.inc(int(sys.argv[1]))
metrics.ENCODER_SECONDS.labels("image").observe(0.25)
metrics.QUEUE_WAITING.set(int(sys.argv[1]))
metrics.DRAINING.set(int(sys.argv[1]) // 2)
"""
READER = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_numbers_of_all_processes_are_added_up(tmp_path: Path) -> None:
    environment = os.environ | new_scratch({METRICS: str(tmp_path / "operator")}, {})
    assert Path(environment[METRICS]).parent == tmp_path / "operator"
    for number in ("1", "2"):
        subprocess.run([sys.executable, "-c", WRITER, number], env=environment, check=True)
    read = subprocess.run([sys.executable, "-c", READER], env=environment, check=True, capture_output=True, text=True)
    found = Scrape.parse(read.stdout)
    assert found.total("quartet_keys_reload_failures_total") == 3
    assert found.total("quartet_encoder_seconds_count", modality="image") == 2
    assert found.total("quartet_encoder_seconds_sum") == 0.5
    assert found.total("quartet_queue_waiting") == 3
    assert found.total("quartet_draining") == 1


def test_a_new_run_never_sees_the_numbers_of_another(tmp_path: Path) -> None:
    first, second = (new_scratch({METRICS: str(tmp_path)}, {})[METRICS] for _ in range(2))
    assert first != second
    assert os.listdir(second) == ["logging.json"]
