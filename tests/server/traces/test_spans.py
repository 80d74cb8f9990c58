"""The tree of spans of a request, and that there is none where tracing is off."""

import asyncio
import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from server.asgi import App, Receive, Scope, Send, header
from server.connector import QuartetConnector
from server.entrance import Entry
from server.errors import refuse
from server.exchange import current_exchange
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcomes
from server.settings import ServerSettings
from server.traces import spans
from server.traces.engine import trace_engine
from server.traces.middleware import Traces, describe
from tests.support.asgi import application, post
from tests.support.tiny import picture_bytes

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENT = f"00-{TRACE}-{PARENT}-01"
PICTURE = "data:;base64," + base64.b64encode(picture_bytes(0)).decode()
SECRET = "top-secret-words"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Tracing is on, and this is what was exported."""
    return turn_on(monkeypatch, TracerProvider())


def turn_on(monkeypatch: pytest.MonkeyPatch, provider: TracerProvider) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "tracer", lambda: provider.get_tracer("test"))
    monkeypatch.setattr(spans, "current", lambda: ServerSettings(otlp_endpoint="http://localhost:4317"))
    return exporter


def traced(app: App) -> App:
    return RequestHeaders(Traces(Outcomes(OpenAIErrors(app), [describe])))


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> str | None:
    return trace.format_span_id(span.parent.span_id) if span.parent else None


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return trace.format_span_id(span.context.span_id)


def output(finished: bool) -> Any:
    return SimpleNamespace(finished=finished)


async def test_the_tree(made: InMemorySpanExporter) -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(header(scope["headers"], b"traceparent"))
        await QuartetConnector().fetch_image_async(PICTURE)
        watcher = trace_engine(Entry(prompt={}, sampling=None, options={}))
        assert watcher is not None
        for finished in (False, False, True):
            await asyncio.sleep(0.002)
            watcher(output(finished))
        current_exchange().media_tokens = {"image": 4}
        await application(200)(scope, receive, send)

    await post(traced(app), body=b'{"a": 1}', traceparent=CLIENT, tracestate="vendor=1", x_request_id="mine")
    found = by_name(made)
    assert set(found) == {
        "POST /v1/chat/completions",
        "receive",
        "medium",
        "decode",
        "first token",
        "further tokens",
    }
    root = found.pop("POST /v1/chat/completions")
    assert parent_of(root) == PARENT
    assert root.kind is trace.SpanKind.SERVER
    assert root.context is not None
    assert root.context.trace_state.get("vendor") == "1"
    decode = found.pop("decode")
    assert parent_of(decode) == id_of(found["medium"])
    assert {parent_of(span) for span in found.values()} == {id_of(root)}
    assert {span.context.trace_id for span in made.get_finished_spans() if span.context} == {int(TRACE, 16)}
    # The engine is given our span in the place of the client's.
    assert seen == [f"00-{TRACE}-{id_of(root)}-01".encode()]
    assert dict(root.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "quartet.request_id": "mine",
        "http.response.status_code": 200,
        "quartet.client_left": False,
        "quartet.prompt_tokens": 0,
        "quartet.completion_tokens": 0,
        "quartet.image_tokens": 4,
    }
    assert dict(found["medium"].attributes or {}) == {
        "quartet.modality": "image",
        "quartet.source": "data",
        "quartet.outcome": "decoded",
    }
    first, further = found["first token"], found["further tokens"]
    times = [first.start_time, first.end_time, further.start_time, further.end_time]
    assert times == sorted(time for time in times if time)


async def test_without_a_client_s_span_ours_is_the_root(made: InMemorySpanExporter) -> None:
    await post(traced(application()), traceparent="nonsense")
    assert parent_of(by_name(made)["POST /v1/chat/completions"]) is None


async def test_probes_are_not_traced(made: InMemorySpanExporter) -> None:
    for path in ("/health", "/ready", "/metrics"):
        await post(traced(application()), path)
    assert made.get_finished_spans() == ()


@pytest.mark.parametrize(("status", "failed"), [(400, False), (500, True)])
async def test_errors_by_their_code_alone(made: InMemorySpanExporter, status: int, failed: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if status == 500:
            raise ValueError(SECRET)
        await QuartetConnector().fetch_image_async("data:;base64," + base64.b64encode(SECRET.encode()).decode())

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            if status == 500:
                raise
            raise refuse(400, SECRET, code="invalid_media") from error

    await post(traced(refusing), f"/v1/models/{SECRET}", {"messages": SECRET})
    (root,) = (span for span in made.get_finished_spans() if span.kind is trace.SpanKind.SERVER)
    assert root.name == "POST /v1/models/{model}"
    assert root.attributes is not None
    assert root.attributes["error.type"] == ("internal_error" if status == 500 else "invalid_media")
    assert (root.status.status_code is trace.StatusCode.ERROR) is failed
    for span in made.get_finished_spans():
        assert SECRET not in span.to_json()
    if status == 400:
        assert (by_name(made)["medium"].attributes or {})["quartet.outcome"] == "refused"


async def test_what_is_not_sampled_makes_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = turn_on(monkeypatch, TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    seen: list[tuple[int, str | None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Bit 0 of the flags: sampled.
        flags = int(header(scope["headers"], b"traceparent")[-2:], 16)
        seen.append((flags & 1, current_exchange().trace_id))
        assert trace_engine(Entry(prompt={}, sampling=None, options={})) is None
        await QuartetConnector().fetch_image_async(PICTURE)
        await application()(scope, receive, send)

    await post(traced(app))
    assert exporter.get_finished_spans() == ()
    assert seen == [(0, None)]


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    asked: list[str] = []
    monkeypatch.setattr(spans, "tracer", lambda: asked.append("tracer"))
    yield asked
    assert asked == []


async def test_off_by_default(off: list[str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert spans.here() is None
        assert trace_engine(Entry(prompt={}, sampling=None, options={})) is None
        await QuartetConnector().fetch_image_async(PICTURE)
        await application()(scope, receive, send)

    response = await post(RequestHeaders(Outcomes(OpenAIErrors(app))), traceparent=CLIENT)
    assert response.status_code == 200
