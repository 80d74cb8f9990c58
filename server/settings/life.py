"""How much the server takes on at a time, how it begins and how it ends."""

from typing import Annotated, ClassVar

from pydantic import Field

from server.settings.sections import Section


class LifeSettings(Section):
    """Requests at a time."""

    title: ClassVar[str] = "Load"

    max_running: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Most requests at a time; the body of one that waits is not read yet."""
    max_waiting: Annotated[int, Field(ge=0, le=1_000_000)] = 256
    """Most requests that wait for their turn; further ones are answered with 503."""
    max_wait: Annotated[float, Field(ge=0.01, le=86_400)] = 30.0
    """Longest wait for a turn, seconds."""
    warm_up: bool = True
    """Answer a request of each kind before `/ready` says so, so that no user's is the slow first one."""
    grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """What requests that run are given to finish after SIGTERM, seconds."""
