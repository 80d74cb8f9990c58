"""A browser for each module, since its event loop must not outlive that; a scripted server and a tab for each test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import Visit, browser, visit
from tests.support.scripted import Scripted, scripted_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def chrome() -> Iterator["Browser"]:
    with browser() as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def tab(chrome: "Browser", scripted: Scripted) -> Iterator[Visit]:
    """The page of the scripted server, opened."""
    with visit(chrome, scripted.url) as opened:
        yield opened.open()
