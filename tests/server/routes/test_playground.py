"""`/`: the page where it is enabled, with what guards it; nothing where it is not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from server.keys.file import add
from server.keys.key import Key, hashed
from server.keys.middleware import ApiKeys
from server.keys.source import KeySource
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.routes import AllowedRoutes
from server.page import page
from server.routes import playground
from server.settings import current
from tests.support.asgi import error_of

SECRET = "qk-" + "u" * 43
Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Makes the route behind the middleware that decide about it, with keys on."""
    path = tmp_path / "keys.yaml"
    add(path, Key(name="user", hash=hashed(SECRET)))

    def make(enabled: bool) -> httpx.AsyncClient:
        monkeypatch.setenv("QUARTET_PLAYGROUND", str(enabled).lower())
        current.cache_clear()
        app = FastAPI(openapi_url=None)
        app.include_router(playground.router)
        app.add_api_route("/v1/models", lambda: {})
        # As the engine's server does it: inside of what answers 500 to everything.
        app.add_middleware(OpenAIErrors)
        guarded = RequestHeaders(AllowedRoutes(ApiKeys(app, KeySource(path), "admin")))  # type: ignore[arg-type]
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=guarded), base_url="http://test")  # type: ignore[arg-type]

    yield make
    monkeypatch.undo()
    current.cache_clear()


async def test_the_page_needs_no_key_and_the_api_does(client: Client) -> None:
    async with client(enabled=True) as http:
        response = await http.get("/")
        assert response.status_code == 200
        assert response.content == page().body
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.get("/v1/models", headers={"authorization": f"Bearer {SECRET}"})).status_code == 200


async def test_what_guards_the_page(client: Client) -> None:
    async with client(enabled=True) as http:
        headers = (await http.get("/")).headers
    assert headers["content-security-policy"] == page().policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "microphone=(self)" in headers["permissions-policy"]


async def test_a_page_that_is_known_is_not_sent_again(client: Client) -> None:
    async with client(enabled=True) as http:
        tag = (await http.get("/")).headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await http.get("/", headers={"if-none-match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["content-security-policy"] == page().policy
        assert (await http.get("/", headers={"if-none-match": '"older"'})).status_code == 200
        assert (await http.get("/")).headers["cache-control"] == "no-cache"


async def test_other_methods(client: Client) -> None:
    async with client(enabled=True) as http:
        head = await http.head("/")
        assert (head.status_code, head.headers["etag"]) == (200, page().etag)
        assert error_of(await http.post("/", json={}))["code"] == "method_not_allowed"


async def test_where_it_is_off_there_is_nothing(client: Client) -> None:
    async with client(enabled=False) as http:
        assert error_of(await http.get("/"))["code"] == "invalid_api_key"
        error = error_of(await http.get("/", headers={"authorization": f"Bearer {SECRET}"}))
        assert (error["message"], error["code"]) == ("there is no GET / here", "not_found")
