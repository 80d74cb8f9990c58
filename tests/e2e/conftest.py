"""What end-to-end tests share beside the server: the reference model it must agree with, and a client."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.reference import Reference
from tests.support.serving import MAX_MEDIA as MAX_MEDIA
from tests.support.serving import ServerProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def reference(tiny_checkpoint: Path) -> Reference:
    """The same checkpoint in transformers."""
    return Reference.load(tiny_checkpoint)


@pytest.fixture(autouse=True)
def alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test did to the server, it must still be healthy afterwards."""
    yield
    if "server" in request.fixturenames:
        running: ServerProcess = request.getfixturevalue("server")
        assert running.healthy(), running.tail()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    """Plain HTTP to the server."""
    with httpx.Client(base_url=server.url, timeout=120) as http:
        yield http
