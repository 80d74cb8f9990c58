"""Every answer is counted once, under labels that no client can choose."""

import ast
import asyncio
from pathlib import Path

import pytest

import model.errors
from server.asgi import App, Receive, Scope, Send
from server.errors import refuse
from server.exchange import Exchange, current_exchange
from server.keys.key import Key, hashed
from server.metrics import definitions as metrics
from server.metrics import requests
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcome, Outcomes
from server.middleware.routes import ROUTES, AllowedRoutes, template
from server.settings import ServerSettings
from tests.support.asgi import application, post, send_all
from tests.support.metrics import Scrape

SERVER = Path(__file__).resolve().parents[3] / "server"
SSE = "text/event-stream"


def watched(app: App, seen: list[Outcome] | None = None) -> App:
    listeners = (requests.count,) if seen is None else (requests.count, seen.append)
    return RequestHeaders(Outcomes(AllowedRoutes(OpenAIErrors(app)), listeners))


@pytest.fixture
def before() -> Scrape:
    return Scrape.of_process()


async def test_answers_by_route_method_and_status(before: Scrape) -> None:
    app = watched(application(200, {"a": 1}))
    for _ in range(3):
        await post(app)
    await post(app, "/v1/models/some/thing")
    await post(app, "/v1/models/thing")
    await post(app, "/nowhere/secret-7")
    added = Scrape.of_process() - before
    assert added.by("quartet_requests_total", "route", "method", "status") == {
        ("/v1/chat/completions", "POST", "200"): 3,
        ("/v1/models/{model}", "POST", "405"): 2,
        ("other", "POST", "404"): 1,
    }
    assert added.by("quartet_request_duration_seconds_count", "route") == {
        ("/v1/chat/completions",): 3,
        ("/v1/models/{model}",): 2,
        ("other",): 1,
    }
    assert added.by("quartet_rejected_requests_total", "reason") == {
        ("not_found",): 1,
        ("method_not_allowed",): 2,
    }
    assert "quartet_time_to_first_byte_seconds_count" not in added.names()
    assert "quartet_requests_in_flight" not in added.names()


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_its_own_template(route: str) -> None:
    assert template(route.replace("{model}", "a/b").replace("{id}", "x-1")) == route


def test_strange_methods_are_one() -> None:
    seen: list[Outcome] = []
    app = watched(application(), seen)
    asyncio.run(send_all(app, [{"type": "http.request"}], {"method": "BREW"}))
    assert seen[0].method == "other"


async def test_errors_by_code(before: Scrape) -> None:
    def fail(code: str | None, status: int = 400) -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            raise refuse(status, "no", code=code)

        return watched(app)

    for code in ("invalid_media", "invalid_media", None, "made-up-by-a-client"):
        await post(fail(code))
    await post(fail(None, 503))
    added = Scrape.of_process() - before
    assert added.by("quartet_rejected_requests_total", "reason") == {
        ("invalid_media",): 2,
        ("invalid_request",): 1,
        ("other",): 1,
        ("unavailable",): 1,
    }
    errors = sum(n for (status,), n in added.by("quartet_requests_total", "status").items() if int(status) >= 400)
    assert errors == added.total("quartet_rejected_requests_total") == 5


async def test_what_is_raised_outside_of_everything_is_a_500(before: Scrape) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError

    assert (await post(RequestHeaders(Outcomes(app)))).status_code == 500
    added = Scrape.of_process() - before
    assert added.by("quartet_requests_total", "status") == {("500",): 1}
    assert added.by("quartet_rejected_requests_total", "reason") == {("internal_error",): 1}


async def test_streams_have_a_first_byte_and_may_fail_late(before: Scrape) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
        await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        raise refuse(503, "no", code="server_ending")

    seen: list[Outcome] = []
    await post(watched(failing, seen))
    await post(watched(application(200, content_type=SSE, pieces=[b"data: 1\n\n", b"data: [DONE]\n\n"]), seen))
    await post(
        watched(
            application(200, content_type=SSE, pieces=[b'data: {"error": {"code": 400, "message": "no"}}\n\n', b""]),
            seen,
        )
    )
    assert seen[0].first_byte is not None
    assert 0.02 <= seen[0].first_byte <= seen[0].seconds
    added = Scrape.of_process() - before
    assert added.by("quartet_requests_total", "status") == {("200",): 3}
    assert added.total("quartet_time_to_first_byte_seconds_count") == 3
    assert added.by("quartet_stream_errors_total", "reason") == {("server_ending",): 1, ("invalid_request",): 1}
    assert "quartet_rejected_requests_total" not in added.names()


async def test_clients_that_leave(before: Scrape) -> None:
    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", SSE.encode())]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await receive()

    async def stays(scope: Scope, receive: Receive, send: Send) -> None:
        await application()(scope, receive, send)
        await receive()  # what a server says when the connection ends after the answer

    seen: list[Outcome] = []
    for app in (waits, streams, stays):
        await send_all(watched(app, seen), [{"type": "http.request", "body": b"12"}])
    assert [(outcome.status, outcome.left, outcome.received) for outcome in seen] == [
        (499, True, 2),
        (200, True, 2),
        (200, False, 2),
    ]
    added = Scrape.of_process() - before
    assert added.total("quartet_client_disconnects_total") == 2
    # Nobody was refused.
    assert "quartet_rejected_requests_total" not in added.names()


@pytest.fixture
def by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "current", lambda: ServerSettings(metrics_by_key=True))
    monkeypatch.setattr(requests, "_keys", set())


def with_key(name: str) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = current_exchange()
        exchange.key = Key(name=name, hash=hashed("x" * 32))
        exchange.prompt_tokens, exchange.completion_tokens = 5, 7
        await application()(scope, receive, send)

    return watched(app)


async def test_keys_are_counted_only_when_asked(before: Scrape) -> None:
    await post(with_key("alice"))
    assert "quartet_key_requests_total" not in (Scrape.of_process() - before).names()


async def test_keys_are_counted_and_bounded(before: Scrape, by_key: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_KEYS", 2)
    for name in ("alice", "bob", "carol", "dave", "alice"):
        await post(with_key(name))
    added = Scrape.of_process() - before
    assert added.by("quartet_key_requests_total", "key", "status") == {
        ("alice", "200"): 2,
        ("bob", "200"): 1,
        ("other", "200"): 2,
    }
    assert added.by("quartet_key_tokens_total", "key", "kind")["alice", "completion"] == 14
    assert added.total("quartet_key_tokens_total", kind="prompt") == 25


def test_every_code_of_ours_is_a_reason() -> None:
    """Whoever adds an error code adds it to `REASONS`, or operators would see `other`."""
    used = {error.code for error in vars(model.errors).values() if hasattr(error, "code") and error.status == 400}
    # What talks to a server has reasons of its own.
    clients = {SERVER / "chat.py", *(SERVER / "bench").rglob("*.py")}
    for path in set(SERVER.rglob("*.py")) - clients:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                used.add(node.value.value)
            # Names of codes: CODE = "...", code = "..." of an error class.
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                names = {target.id for target in node.targets if isinstance(target, ast.Name)}
                if names & {"CODE", "code"}:
                    used.add(node.value.value)
    used = {code for code in used if isinstance(code, str)} - {"invalid_data", "invalid_prompt"}
    assert {"invalid_media", "server_overloaded", "server_ending"} <= used
    assert used <= requests.REASONS


def test_labels_are_bounded() -> None:
    assert {label for metric in metrics.DEFINED.values() for label in metric.labels} == {
        "route",
        "method",
        "status",
        "reason",
        "modality",
        "source",
        "outcome",
        "key",
        "kind",
        "process",
        "version",
        "vllm_version",
        "model_name",
    }
    assert Exchange(request_id="x").error_code is None
