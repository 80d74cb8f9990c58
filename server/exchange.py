"""What is known about the request at hand, for everything that has a part in its answer.

Made by the outermost middleware and carried by a context variable, so that routes, the media connector and the
engine's entrance write to the same record: tasks started for a request copy the variable, not the record.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model.errors import MediaError
from server.keys.key import Key

if TYPE_CHECKING:
    from server.content import Part
    from server.files.stored import StoredFile


@dataclass(kw_only=True)
class Exchange:
    """One request and its answer."""

    request_id: str
    """As in the answer's `x-request-id`."""
    started: float = field(default_factory=time.perf_counter)
    """When its first byte was seen, `time.perf_counter`."""
    prompt_param: str | None = None
    """Which field of the body holds the prompt: `messages`, `input` or `prompt`."""
    parts: "list[Part]" = field(default_factory=list)
    """The content parts of the prompt, in reading order."""
    failures: dict[str, MediaError] = field(default_factory=dict)
    """URL -> why its medium could not be read."""
    files: "dict[str, StoredFile]" = field(default_factory=dict)
    """URL -> the uploaded file that it names, once it was found."""
    fetched: dict[str, "asyncio.Future[bytes]"] = field(default_factory=dict)
    """URL -> its medium, on the way or there, until it is not needed any more."""
    fetched_uses: Counter[str] = field(default_factory=Counter)
    """How often each was read."""
    fetched_bytes: int = 0
    """What came over the network for all of them."""
    prompt_tokens: int = 0
    """Tokens of the prompts that entered the engine."""
    key: Key | None = None
    """Whose request it is; None where nobody needs a key."""
    gates: list[Callable[[Mapping[str, Any]], Awaitable[None]]] = field(default_factory=list)
    """What must agree to the request's body once it is read; each may raise `RefusedError`."""
    media_gates: list[Callable[[str, int], Awaitable[None]]] = field(default_factory=list)
    """What must agree to a decoded medium, pixels of an `image` or seconds of an `audio`; may raise `RefusedError`."""
    completion_tokens: int = 0
    """Tokens that the engine gave, also to a client that left."""
    media_tokens: dict[str, int] = field(default_factory=dict)
    """How many of them stand for media, by modality."""
    media_bytes: int = 0
    """Bytes of the files of media that were read."""
    trace_id: str | None = None
    """The trace it belongs to, where it is traced."""
    error_code: str | None = None
    """The code of the error it was answered with, or that its stream ended with."""


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def begin(exchange: Exchange) -> None:
    """Make `exchange` the one at hand, for this task and those it starts."""
    _current.set(exchange)


def current_exchange() -> Exchange:
    """The one at hand; outside of a request, a new one that nobody looks at."""
    return _current.get() or Exchange(request_id="")
