"""What a collector receives over OTLP: the client's trace, our spans in it, and vLLM's span below ours."""

import time

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from vllm.tracing import extract_trace_context, extract_trace_headers, instrument_manual
from vllm.tracing import otel as vllm_otel

from server.asgi import Receive, Scope, Send
from server.entrance import Entry
from server.metrics.media import reading
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcomes
from server.settings import ServerSettings
from server.traces import spans
from server.traces.engine import trace_engine
from server.traces.middleware import Traces, describe
from tests.server.traces.test_spans import output
from tests.support.asgi import application, post
from tests.support.otlp import Collector

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_the_tree_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with reading("image", "file-id:file-1") as medium:
            medium.fetched(100, 0.001)
            medium.decoded(0.001)
        watcher = trace_engine(Entry(prompt={}, sampling=None, options={}))
        assert watcher is not None
        watcher(output(False))
        watcher(output(True))
        # As vLLM does when a request is done, with what its handlers took from the request's headers.
        headers = extract_trace_headers({name.decode(): value.decode() for name, value in scope["headers"]})
        instrument_manual("llm_request", time.time_ns(), context=extract_trace_context(headers))
        await application(200)(scope, receive, send)

    with Collector() as collector:
        provider = TracerProvider(resource=Resource.create({"service.name": "quartet"}))
        provider.add_span_processor(BatchSpanProcessor(vllm_otel.get_span_exporter(collector.url)))
        monkeypatch.setattr(spans, "tracer", lambda: provider.get_tracer("quartet"))
        monkeypatch.setattr(spans, "current", lambda: ServerSettings(otlp_endpoint=collector.url))
        monkeypatch.setattr(vllm_otel.trace, "get_tracer", provider.get_tracer)
        server = RequestHeaders(Traces(Outcomes(OpenAIErrors(app), [describe])))
        await post(server, traceparent=f"00-{TRACE}-{PARENT}-01")
        provider.shutdown()
        found = {span.name: span for span in collector.of(TRACE, 8)}
    root = found["POST /v1/chat/completions"]
    assert {name: span.parent for name, span in found.items()} == {
        "POST /v1/chat/completions": PARENT,
        "receive": root.id,
        "medium": root.id,
        "fetch": found["medium"].id,
        "decode": found["medium"].id,
        "first token": root.id,
        "further tokens": root.id,
        "llm_request": root.id,
    }
    assert {span.service for span in found.values()} == {"quartet"}
    assert found["fetch"].attributes == {"quartet.bytes": 100}
    assert root.attributes["http.response.status_code"] == 200
    assert not any(span.failed for span in found.values())
