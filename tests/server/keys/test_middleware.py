"""What the keys open, what they do not, and that nothing about them leaks."""

import hmac
import logging
import os
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from model.errors import ConfigurationError
from server.asgi import Receive, Scope, Send
from server.exchange import Exchange, begin, current_exchange
from server.keys.file import add, revoke
from server.keys.key import Key, hashed
from server.keys.middleware import ApiKeys
from server.keys.ring import KeyRing
from server.keys.source import INTERVAL, KeySource
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.routes import ROUTES
from server.requests import read
from tests.support.asgi import application, error_of, post, send_all

USER, ADMIN, LIMITED = ("qk-" + letter * 43 for letter in "ual")
KEYS = {
    USER: Key(name="user", hash=hashed(USER)),
    ADMIN: Key(name="admin", hash=hashed(ADMIN), role="admin"),
    LIMITED: Key(name="limited", hash=hashed(LIMITED), models=("m2",)),
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for one in KEYS.values():
        add(tmp_path / "keys.yaml", one)
    return tmp_path / "keys.yaml"


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    """A route that reads its body as ours do, and says whose request it is and which headers it saw."""
    if scope["method"] == "POST":
        await read(Request(scope, receive))
    key = current_exchange().key
    body = {"key": key.name if key else None, "headers": [name.decode() for name, _ in scope["headers"]]}

    async def nothing() -> dict[str, object]:
        return {"type": "http.request"}

    await application(200, body)(scope, nothing, send)


def guarded(source: KeySource, metrics: str = "admin") -> RequestHeaders:
    return RequestHeaders(ApiKeys(OpenAIErrors(reads), source, metrics))


async def get(app: object, path: str, secret: str | None = None, method: str = "GET", **more: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers | more)


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in ("/health", "/ready")])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_every_path_needs_a_key(path: Path, route: str, method: str) -> None:
    response = await get(guarded(KeySource(path)), route.replace("{", "").replace("}", ""), method=method)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = error_of(response)
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")


@pytest.mark.parametrize("route", ["/health", "/ready"])
async def test_orchestrators_need_none(path: Path, route: str) -> None:
    assert (await get(guarded(KeySource(path)), route)).status_code == 200


async def test_a_browser_may_ask_first(path: Path) -> None:
    asks = {"origin": "http://a", "access-control-request-method": "POST"}
    response = await get(guarded(KeySource(path)), "/v1/chat/completions", method="OPTIONS", **asks)
    assert response.status_code == 200


async def test_a_key_opens_and_leaves_the_request(path: Path) -> None:
    response = await post(guarded(KeySource(path)), authorization=f"Bearer {USER}")
    assert response.json()["key"] == "user"
    assert "authorization" not in response.json()["headers"]


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {USER}", f"Bearer {USER}x", f"Bearer {USER[:-1]}", USER, "Bearer é"]
)
async def test_nothing_else_opens(path: Path, given: str) -> None:
    scope = {"headers": [(b"authorization", given.encode("latin-1"))]}
    sent = await send_all(guarded(KeySource(path)), [], scope)
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("access", "secret", "status"),
    [("open", None, 200), ("user", None, 401), ("user", USER, 200), ("admin", USER, 403), ("admin", ADMIN, 200)],
)
async def test_metrics(path: Path, access: str, secret: str | None, status: int) -> None:
    response = await get(guarded(KeySource(path), access), "/metrics", secret)
    assert response.status_code == status
    if status == 403:
        assert error_of(response)["type"] == "permission_error"


@pytest.mark.parametrize(("model", "status"), [("m2", 200), ("m", 403), (None, 403)])
async def test_models_of_a_key(path: Path, model: str | None, status: int) -> None:
    body = {"messages": []} | ({"model": model} if model else {})
    response = await post(guarded(KeySource(path)), body=body, authorization=f"Bearer {LIMITED}")
    assert response.status_code == status
    if status == 403:
        error = error_of(response)
        assert (error["type"], error["param"], error["code"]) == ("permission_error", "model", "model_not_found")


async def test_changes_hold_without_a_restart(path: Path) -> None:
    clock = Clock()
    source = KeySource(path, clock=clock)
    app = guarded(source)
    revoke(path, "user")
    add(path, Key(name="late", hash=hashed("late" * 10)))
    clock.now += INTERVAL
    assert (await get(app, "/v1/models", USER)).status_code == 401
    assert (await get(app, "/v1/models", "late" * 10)).status_code == 200


@pytest.mark.parametrize("broken", ["alice: [", None])
async def test_a_broken_file_changes_nothing(path: Path, broken: str | None, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    app = guarded(KeySource(path, clock=clock))
    good = path.read_text()
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    clock.now += INTERVAL
    assert (await get(app, "/v1/models", USER)).status_code == 200
    assert (await get(app, "/v1/models", "x" * 40)).status_code == 401
    assert "keys stay as they were" in caplog.text
    path.write_text(good.replace("name", "name"))
    os.utime(path, (1, 1))
    clock.now += INTERVAL
    assert (await get(app, "/v1/models", ADMIN)).status_code == 200


async def test_a_key_of_the_environment() -> None:
    app = guarded(KeySource(None, "s" * 24))
    assert (await get(app, "/metrics", "s" * 24)).status_code == 200
    assert (await get(app, "/v1/models")).status_code == 401
    with pytest.raises(ConfigurationError, match="24 characters"):
        KeySource(None, "password")


async def test_without_keys_everybody_may() -> None:
    assert (await get(guarded(KeySource()), "/metrics")).status_code == 200


def test_a_file_that_cannot_be_read_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        KeySource(tmp_path / "missing.yaml")


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True), st.text())
def test_every_search_compares_every_key_once(secrets: list[str], wanted: str) -> None:
    seen: list[str] = []

    def compare(one: str, other: str) -> bool:
        seen.append(one)
        return hmac.compare_digest(one, other)

    ring = KeyRing([Key(name=f"k{i}", hash=hashed(secret)) for i, secret in enumerate(secrets)], compare)
    for secret in (wanted, secrets[0], secrets[-1], "", wanted * 3):
        seen.clear()
        found = ring.find(secret)
        assert seen == [key.hash for key in ring.keys]
        assert (found is not None) == (secret in secrets)


async def test_no_log_holds_a_key(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    begin(Exchange(request_id=""))
    app = guarded(KeySource(path))
    answers = [await post(app, authorization=f"Bearer {secret}") for secret in (USER, USER[:-1] + "z", LIMITED)]
    told = caplog.text + "".join(answer.text + str(answer.headers) for answer in answers) + repr(KEYS[USER])
    assert USER[:-1] not in told
    assert LIMITED not in told
