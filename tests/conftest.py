"""Settings and fixtures shared by all tests."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.serving import ServerProcess

# Before anything imports torch or transformers: the machine is shared, and no test may need the hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Files whose tests use the shared server.
SERVED = (
    "tests/e2e/",
    "tests/docs/test_benchmarking.py",
    "tests/docs/test_evaluation.py",
    "tests/docs/test_files.py",
    "tests/docs/test_readme.py",
    "tests/helm/test_chat_pod.py",
)

# Of these, files whose tests start what they need themselves: they run beside the others.
APART = (
    "tests/e2e/playground/test_conversation.py",
    "tests/e2e/playground/test_safety.py",
    "tests/e2e/playground/test_use.py",
    "tests/e2e/test_adapters.py",
    "tests/e2e/test_encode_once.py",
)

# Files that take longest, longest first: begun before the others, so that none of them keeps a core waiting in the end.
LONGEST = (
    "tests/training/test_interruption.py",
    "tests/e2e/test_encode_once.py",
    "tests/e2e/test_adapters.py",
    "tests/training/test_devices.py",
    "tests/training/ablation/test_runner.py",
    "tests/training/test_run.py",
    "tests/benchmarks/test_soak.py",
    "tests/e2e/playground/test_use.py",
    "tests/server/test_refusal.py",
    "tests/docs/test_training.py",
    "tests/training/test_shipped_recipes.py",
    "tests/training/test_refit.py",
    "tests/training/test_validation.py",
    "tests/docker/test_prometheus.py",
    "tests/server/media/test_pool.py",
)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def is_served(nodeid: str) -> bool:
    """Whether a test belongs to the process that holds the shared server."""
    return nodeid.startswith(SERVED) and not nodeid.startswith(APART)


def share_of(nodeid: str) -> str:
    """Tests of one share run in one process."""
    return "server" if is_served(nodeid) else nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that start several servers of their own, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        # The shared one is made of the tiny checkpoint; some files have a fixture of the same name.
        shared = {"server", "tiny_checkpoint"} <= set(getattr(item, "fixturenames", ()))
        if shared and not is_served(item.nodeid):
            raise pytest.UsageError(
                f"{item.nodeid} uses the shared server: its file belongs in SERVED, tests/conftest.py, and not in APART"
            )
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="starts several servers; runs with --slow"))
    if config.getoption("numprocesses", None) or os.environ.get("PYTEST_XDIST_WORKER"):
        sizes = Counter(share_of(item.nodeid) for item in items)
        ranks = {share: rank for rank, share in enumerate(("server", *LONGEST))}
        shares = sorted(sizes, key=lambda share: (ranks.get(share, len(ranks)), -sizes[share]))
        places = {share: place for place, share in enumerate(shares)}
        items.sort(key=lambda item: places[share_of(item.nodeid)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Several test processes share the files among them; those that use the shared server all go to one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    # In the order they were collected in, see above.
    config.option.loadscopereorder = False

    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint: Llama, CLIP, Whisper, 4 tokens a medium, LoRA that is active only with media.

    Read-only: every test sees the same one.
    """
    # Here, so that tests without it need not wait for torch.
    from model.adapter import AdapterConfig
    from tests.support.tiny import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("tiny"), adapter=AdapterConfig(rank=4, scope="media"))


@pytest.fixture(scope="session")
def server(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["ServerProcess"]:
    """The one server of the whole suite: the tiny checkpoint in float32."""
    from tests.support.serving import SHARED, ServerProcess

    folder = tmp_path_factory.mktemp("server")
    running = ServerProcess.start(tiny_checkpoint, folder, *SHARED).wait()
    yield running
    running.stop()
