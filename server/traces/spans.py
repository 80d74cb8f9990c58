"""Makes spans with the tracer of this process; without `otlp_endpoint` there is none and nothing is made."""

import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context

from server.settings import current

NAME = "quartet"
Attributes = Mapping[str, str | int | float | bool]


def tracer() -> trace.Tracer:
    """The tracer of this process; vLLM has set up where its spans go."""
    return trace.get_tracer(NAME)


def here() -> Context | None:
    """Where in a trace the code that runs stands; None where nothing is recorded."""
    if current().otlp_endpoint is None:
        return None
    span = trace.get_current_span()
    return trace.set_span_in_context(span) if span.is_recording() else None


def note(
    name: str, began: int, parent: Context | None, attributes: Attributes | None = None, ended: int | None = None
) -> None:
    """A span from `began`, `time.time_ns`, until `ended` or now; none where `parent` is None."""
    if parent is not None:
        begin(name, began, parent, attributes).end(ended or time.time_ns())


def begin(name: str, began: int, parent: Context, attributes: Attributes | None = None) -> trace.Span:
    """A span from `began` on, to be ended by the caller."""
    return tracer().start_span(name, context=parent, start_time=began, attributes=attributes)
