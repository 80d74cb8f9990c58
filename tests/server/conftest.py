"""What the tests of the server share."""

import pytest

from server import resolvers


@pytest.fixture(autouse=True)
def no_resolvers_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with the sources of media that are always there; what it registers is gone after it."""
    monkeypatch.setattr(resolvers, "_resolvers", {"data": resolvers.DataUrls()})
