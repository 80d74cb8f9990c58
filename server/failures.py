"""What went wrong while reading the media of one request: from the media connector to the error middleware.

The connector knows the URL and the reason, the middleware knows the request; the engine's code between them knows
neither. A context variable carries a mapping that the middleware made, so tasks started for the request write to it.
"""

from contextvars import ContextVar

from model.errors import MediaError

Failures = dict[str, MediaError]
# URL -> why it could not be read, for the request at hand.
failures: ContextVar[Failures | None] = ContextVar("failures", default=None)
