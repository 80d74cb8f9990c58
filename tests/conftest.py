"""Settings and fixtures shared by all tests."""

import os
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

# Of these, files whose tests start what they need themselves: they run beside the others. Only some, because files with
# few tests come last, where a slow one would keep a core waiting.
APART = (
    "tests/e2e/playground/test_conversation.py",
    "tests/e2e/playground/test_safety.py",
    "tests/e2e/playground/test_use.py",
    "tests/e2e/test_adapters.py",
    "tests/e2e/test_encode_once.py",
)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def is_served(nodeid: str) -> bool:
    """Whether a test belongs to the process that holds the shared server."""
    return nodeid.startswith(SERVED) and not nodeid.startswith(APART)


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Several test processes share the files among them; those that use the shared server all go to one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "server" if is_served(nodeid) else nodeid.partition("::")[0]

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
