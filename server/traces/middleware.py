"""The span of a request: a child of the client's, and the parent of everything that happens for it.

Stands just inside `RequestHeaders` and only where tracing is on. Probes and scrapes are not traced.
"""

import time

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.asgi import App, Message, Receive, Scope, Send
from server.exchange import current_exchange
from server.logs.access import QUIET
from server.middleware.outcome import Outcome
from server.middleware.routes import template
from server.traces import spans

_HEADERS = (b"traceparent", b"tracestate")
_propagator = TraceContextTextMapPropagator()


class Traces:
    """Begins a span, gives its name to the engine in the place of the client's, and ends it with the answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, within a span."""
        if scope["type"] != "http" or (route := template(scope["path"])) in QUIET:
            await self.app(scope, receive, send)
            return
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS}
        others = [item for item in scope["headers"] if item[0] not in _HEADERS]
        exchange = current_exchange()
        span = spans.tracer().start_span(
            f"{scope['method']} {route}",
            context=_propagator.extract(given),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "quartet.request_id": exchange.request_id,
            },
        )
        if span.is_recording():
            exchange.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            carrier: dict[str, str] = {}
            _propagator.inject(carrier)
            headers = [*others, *((name.encode(), value.encode("latin-1")) for name, value in carrier.items())]
            await self.app({**scope, "headers": headers}, _Body(receive).receive, send)


class _Body:
    """The body of a request while it arrives."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._began = 0
        self._bytes = 0
        self._complete = False

    async def receive(self) -> Message:
        self._began = self._began or time.time_ns()
        message = await self._receive()
        if not self._complete:
            self._bytes += len(message.get("body", b""))
            self._complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
            if self._complete:
                spans.note("receive", self._began, spans.here(), {"http.request.body.size": self._bytes})
        return message


def describe(outcome: Outcome) -> None:
    """Say what came of the request at hand on its span."""
    span = trace.get_current_span()
    if span.is_recording():
        exchange = outcome.exchange
        span.set_attributes(
            {
                "http.response.status_code": outcome.status,
                "quartet.client_left": outcome.left,
                "quartet.prompt_tokens": exchange.prompt_tokens,
                "quartet.completion_tokens": exchange.completion_tokens,
                **{f"quartet.{modality}_tokens": tokens for modality, tokens in exchange.media_tokens.items()},
            }
        )
        if exchange.key is not None:
            span.set_attribute("quartet.key", exchange.key.name)
        if exchange.error_code is not None:
            span.set_attribute("error.type", exchange.error_code)
        if outcome.status >= 500 or (exchange.error_code is not None and outcome.status < 400):
            span.set_status(Status(StatusCode.ERROR))
