"""What of a log record may be written. Nothing that a client sent is, beside the checked id of its request.

Our own messages are made of names and numbers. Those of other packages are not known to be: while a request is at hand,
only the fixed part of their messages is written, and of an exception its type and where it was raised; its message only
where it is of a kind that speaks about the machine. A line that belongs to no request is written as it is, without
anything that looks like a medium.
"""

import logging
import re
import traceback
from collections.abc import Iterator
from types import TracebackType

from server.exchange import current_exchange

OURS = frozenset(("server", "model"))
# What is reported by whoever happens to run when it is noticed, outside of the request it belongs to.
LATE = frozenset(("asyncio",))
# Exceptions about the machine or the program, not about what was sent.
ABOUT_US = (OSError, MemoryError, RuntimeError)
MAX_MESSAGE = 20_000
# Exceptions that caused each other.
MAX_CHAIN = 8
_DATA_URL = re.compile(r"data:[^,\s]{0,200}base64,[A-Za-z0-9+/=_-]*", re.IGNORECASE)
# Longer than a hash; file names may be long, so fewer characters count while a request is at hand.
_RUN = re.compile(r"[A-Za-z0-9+/=]{200,}")
_SHORT_RUN = re.compile(r"[A-Za-z0-9+/=_-]{64,}")
Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def in_request() -> bool:
    """Whether the code that runs does so for a client."""
    return bool(current_exchange().request_id)


def message(record: logging.LogRecord) -> str:
    """The message of a record."""
    if _is_ours(record) or not (in_request() or record.name in LATE):
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
    else:
        # The placeholders stay: what would stand in their place may be the client's.
        text = str(record.msg).partition("\n")[0] if record.name in LATE else str(record.msg)
    return _stripped(text)


def raised(record: logging.LogRecord) -> str | None:
    """The exception of a record and those that led to it, oldest first; None if there is none."""
    if not record.exc_info or not isinstance(record.exc_info, tuple) or record.exc_info[1] is None:
        return None
    careful = in_request() or record.name in LATE
    return _stripped("\n".join(_blocks(record.exc_info[1], careful, set())))


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OURS


def _blocks(error: BaseException, careful: bool, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen and len(seen) < MAX_CHAIN:
        yield from _blocks(earlier, careful, seen)
        yield "then:"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    yield name if careful and not isinstance(error, ABOUT_US) else f"{name}: {error}"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            if id(one) not in seen and len(seen) < MAX_CHAIN:
                yield "in it:"
                yield from _blocks(one, careful, seen)


def _stripped(text: str) -> str:
    text = _DATA_URL.sub("data:...", text)
    text = (_SHORT_RUN if in_request() else _RUN).sub("...", text)
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
