"""`/v1/files` through all middleware that a request passes, mostly with the official client."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI
from starlette.datastructures import State

from server.files.library import Library
from server.files.setup import start_files
from server.keys.file import add as add_key
from server.keys.key import Key, hashed
from server.keys.middleware import ApiKeys
from server.keys.source import KeySource
from server.limits.counters import Counters
from server.limits.middleware import KeyLimits
from server.middleware.body import BodyLimits
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.routes import AllowedRoutes
from server.routes import files as routes
from server.settings import current
from tests.server.files.media import picture, sound
from tests.support.asgi import error_of

GOLDEN = json.loads((Path(__file__).parent / "golden" / "files.json").read_text())
ALICE, BOB, SMALL = ("qk-" + letter * 43 for letter in "abs")
KEYS = (
    Key(name="alice", hash=hashed(ALICE)),
    Key(name="bob", hash=hashed(BOB)),
    Key(name="small", hash=hashed(SMALL), max_files=2, max_files_bytes=200, requests_per_minute=1000),
)
LIMIT = 100_000


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets settings, as the environment of a server does."""

    def configure(**values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"QUARTET_{name.upper()}", str(value))
        current.cache_clear()

    configure(files_dir=tmp_path / "files", max_file_bytes=LIMIT)
    yield configure
    monkeypatch.undo()
    current.cache_clear()


@pytest.fixture
async def state(configured: Any) -> State:
    """Of a server that keeps files."""
    started = State()
    start_files(started)
    return started


def client_of(state: State, key: str | None = None, source: KeySource | None = None) -> AsyncOpenAI:
    """The official client of a server with this state."""
    app = FastAPI(openapi_url=None)
    app.state = state
    app.include_router(routes.router)
    # From the inside out, as the server has them.
    for middleware, options in (
        (OpenAIErrors, {}),
        (BodyLimits, {}),
        (KeyLimits, {"counters": Counters()}),
        (ApiKeys, {"source": source or KeySource()}),
        (AllowedRoutes, {}),
        (RequestHeaders, {}),
    ):
        app.add_middleware(middleware, **options)  # type: ignore[arg-type]
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app))
    return AsyncOpenAI(base_url="http://test/v1", api_key=key or "none", http_client=http, max_retries=0)


@pytest.fixture
def client(state: State) -> AsyncOpenAI:
    return client_of(state)


@pytest.fixture
def of_key(state: State, tmp_path: Path) -> Callable[[str], AsyncOpenAI]:
    for key in KEYS:
        add_key(tmp_path / "keys.yaml", key)
    source = KeySource(tmp_path / "keys.yaml")
    return lambda secret: client_of(state, secret, source)


async def raw(client: AsyncOpenAI, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {client.api_key}", **options.pop("headers", {})}
    return await client._client.request(method, f"http://test{path}", headers=headers, **options)


async def create(client: AsyncOpenAI, data: bytes | None = None, name: str = "cat.png", **options: Any) -> Any:
    given = {"purpose": "vision", **options}
    return await client.files.create(file=(name, picture() if data is None else data), **given)


async def test_the_wire_is_as_recorded(client: AsyncOpenAI) -> None:
    def masked(value: Any, known: dict[str, str]) -> Any:
        text = json.dumps(value)
        for name, shown in known.items():
            text = text.replace(name, shown)
        body = json.loads(text)
        for one in body["data"] if body.get("object") == "list" else [body]:
            if "created_at" in one:
                if one["expires_at"] is not None:
                    assert one["expires_at"] - one["created_at"] == 3600
                    one["expires_at"] = 3600
                one["created_at"] = 0
        return body

    first = await raw(client, "POST", "/v1/files", files={"file": ("cat.png", picture())}, data={"purpose": "vision"})
    fields = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    second = await raw(client, "POST", "/v1/files", files={"file": ("a/seven.wav", sound())}, data=fields)
    known = {first.json()["id"]: "<first>", second.json()["id"]: "<second>"}
    answers = {
        "create": first,
        "create with expiry": second,
        "retrieve": await raw(client, "GET", f"/v1/files/{first.json()['id']}"),
        "list": await raw(client, "GET", "/v1/files?order=asc"),
        "page": await raw(client, "GET", "/v1/files?order=asc&limit=1"),
        "list of a purpose": await raw(client, "GET", "/v1/files?purpose=user_data"),
        "list of nothing": await raw(client, "GET", "/v1/files?purpose=batch"),
        "delete": await raw(client, "DELETE", f"/v1/files/{first.json()['id']}"),
    }
    assert all(answer.status_code == 200 for answer in answers.values())
    assert {name: masked(answer.json(), known) for name, answer in answers.items()} == GOLDEN["answers"]
    for case in GOLDEN["errors"]:
        answer = await raw(client, case["method"], case["path"], **case.get("request", {}))
        assert [answer.status_code, error_of(answer)] == [case["status"], case["error"]], case


async def test_the_official_client_does_all_of_it(client: AsyncOpenAI) -> None:
    data = sound()
    file = await create(client, data, "seven.wav", expires_after={"anchor": "created_at", "seconds": 7200})
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(data), "seven.wav", "vision")
    assert file.expires_at == file.created_at + 7200
    assert (await client.files.retrieve(file.id)) == file
    content = await client.files.content(file.id)
    assert content.content == data
    names = [file.id]
    for seed in range(4):
        names.append((await create(client, picture(seed))).id)
    assert [one.id async for one in client.files.list(order="asc")] == sorted(names)
    # Pages follow one another by the last id.
    assert [one.id async for one in client.files.list(limit=2)] == sorted(names, reverse=True)
    assert (await client.files.delete(file.id)).deleted
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            await call(file.id)


async def test_bytes_are_given_back_so_that_no_browser_runs_them(client: AsyncOpenAI) -> None:
    file = await create(client, name="<script>x: y 猫.svg")
    answer = await raw(client, "GET", f"/v1/files/{file.id}/content")
    assert answer.content == picture()
    headers = answer.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%3Cscript%3Ex%3A%20y%20%E7%8C%AB.svg"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..\\..\\x", "/abs/olute", "a\0b", "."])
async def test_no_name_of_a_file_is_a_path(client: AsyncOpenAI, tmp_path: Path, name: str) -> None:
    file = await create(client, name=name)
    assert not set(file.filename) & set("/\\\0")
    stored = {path.relative_to(tmp_path / "files").parts[0] for path in (tmp_path / "files").rglob("*")}
    assert stored == {"open", "staging"}
    assert {path.name for path in tmp_path.iterdir()} == {"files"}


@pytest.mark.parametrize(
    "path",
    ["..", "%2e%2e%2f%2e%2e", "file-x/../content", "file-%00/content", "/", "..%5c..%5cx/content"],
)
async def test_no_path_of_a_request_is_a_path_of_ours(client: AsyncOpenAI, path: str) -> None:
    answer = await raw(client, "GET", f"/v1/files/{path}")
    assert answer.status_code == 404


async def test_a_key_finds_its_own_files_only(of_key: Callable[[str], AsyncOpenAI]) -> None:
    alice, bob = of_key(ALICE), of_key(BOB)
    file = await create(alice)
    missing = "file-" + "0" * 44
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        other = await raw(bob, method, f"/v1/files/{file.id}{path}")
        unknown = await raw(bob, method, f"/v1/files/{missing}{path}")
        assert (other.status_code, other.content) == (unknown.status_code, unknown.content) == (404, unknown.content)
    assert [one.id async for one in bob.files.list()] == []
    # A cursor of somebody else says nothing about them either.
    assert [one.id async for one in bob.files.list(after=file.id)] == []
    assert [one.id async for one in alice.files.list()] == [file.id]
    with pytest.raises(openai.AuthenticationError):
        await create(of_key("qk-" + "x" * 43))


async def test_a_key_keeps_what_it_may(of_key: Callable[[str], AsyncOpenAI]) -> None:
    small, alice = of_key(SMALL), of_key(ALICE)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await create(small, picture() + bytes(200))
    assert (refused.value.code, refused.value.param) == ("quota_exceeded", "file")
    file = await create(small)
    await create(small, picture(1))
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await create(small)
    assert refused.value.code == "quota_exceeded"
    await create(alice, picture() + bytes(200))
    await small.files.delete(file.id)
    await create(small)


async def test_a_file_may_be_so_large_and_no_larger(client: AsyncOpenAI, tmp_path: Path) -> None:
    data = picture() + bytes(LIMIT)
    assert (await create(client, data[:LIMIT])).bytes == LIMIT
    for size in (LIMIT + 1, 3 * LIMIT):
        with pytest.raises(openai.APIStatusError) as refused:
            await create(client, picture() + bytes(size - len(picture())))
        assert (refused.value.status_code, refused.value.code) == (413, "file_too_large")
    assert list((tmp_path / "files" / "staging").iterdir()) == []

    # Also when it does not say how large it will be.
    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n' + picture()
        for _ in range(20):
            yield bytes(LIMIT // 10)
        yield b"\r\n--b--\r\n"

    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = await raw(client, "POST", "/v1/files", content=pieces(), headers=kind)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "file_too_large")


async def test_files_go_when_the_operator_says_so(configured: Any, client: AsyncOpenAI) -> None:
    configured(files_expire_after=7200, files_expire_max=86400)
    file = await create(client)
    assert file.expires_at == file.created_at + 7200
    longer = {"anchor": "created_at", "seconds": 86400}
    assert (await create(client, expires_after=longer)).expires_at is not None
    with pytest.raises(openai.BadRequestError, match=r"3600\.\.86400"):
        await create(client, expires_after={"anchor": "created_at", "seconds": 86401})


async def test_a_full_disk_and_a_lost_one_are_said(
    state: State, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = await create(client)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("server.files.staged.write_all", full)
        with pytest.raises(openai.InternalServerError) as failed:
            await create(client)
    assert (failed.value.status_code, failed.value.code) == (507, "storage_full")
    assert [one.id async for one in client.files.list()] == [file.id]
    (tmp_path / "files").rename(tmp_path / "elsewhere")
    (tmp_path / "files").write_bytes(b"")
    with pytest.raises(openai.InternalServerError) as failed:
        await create(client)
    assert (failed.value.status_code, failed.value.code) == (503, "storage_unavailable")
    assert failed.value.response.headers["retry-after"] == "1"
    (tmp_path / "files").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "files")
    assert (await client.files.content(file.id)).content == picture()


async def test_a_server_may_keep_no_files(configured: Any, client: AsyncOpenAI, state: State) -> None:
    configured(files="false")
    start_files(state)
    one = "/file-" + "0" * 44
    for method, path in (("POST", ""), ("GET", ""), ("GET", one), ("GET", f"{one}/content"), ("DELETE", one)):
        answer = await raw(client, method, f"/v1/files{path}")
        assert (answer.status_code, error_of(answer)["code"]) == (404, "files_disabled")


async def test_what_has_expired_is_swept_while_the_server_runs(
    configured: Any, state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library: Library = state.quartet_files
    file = await create(client_of(state), expires_after={"anchor": "created_at", "seconds": 3600})
    monkeypatch.setattr(library, "_clock", lambda: file.created_at + 3600.0)
    await library.sweep()
    assert not [path for path in (tmp_path / "files" / "open").rglob("*") if path.is_file()]
