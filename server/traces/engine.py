"""The engine's part of a request, as spans: until its first token, and from there to its last."""

import time
from typing import Any

from server.entrance import Entry, OnOutput
from server.traces import spans


def trace_engine(entry: Entry) -> OnOutput | None:
    """A guard of `server.entrance`: spans of each prompt, within the request it belongs to."""
    parent = spans.here()
    if parent is None:
        return None
    began = time.time_ns()
    first = 0

    def note(output: Any) -> None:
        nonlocal first
        if not first:
            first = time.time_ns()
            spans.note("first token", began, parent, ended=first)
        if getattr(output, "finished", False):
            spans.note("further tokens", first, parent)

    return note
