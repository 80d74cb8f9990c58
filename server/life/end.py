"""Why the server ended: told to, because its engine died, or because its warm-up failed; the exit status says which.

vLLM's server ends by itself when the engine dies, with the status of a success, after which some orchestrators would
not start it again.
"""

from typing import Any

ENGINE_DIED = 3
WARM_UP_FAILED = 4
_died: list[bool] = []
_asked: list[int] = []


def watch_end(engine_client: Any) -> None:
    """Note in what state `engine_client` is when it is first shut down; changed in place.

    Whoever is told to end shuts a living engine down; whoever ends because of the engine finds a dead one.
    """
    shutdown = engine_client.shutdown
    _died.clear()
    _asked.clear()

    def watched(*args: Any, **kwargs: Any) -> Any:
        if not _died:
            _died.append(bool(engine_client.errored))
        return shutdown(*args, **kwargs)

    engine_client.shutdown = watched


def end_with(status: int) -> None:
    """Note the exit status of a server that is about to end for a reason of its own."""
    _asked.append(status)


def exit_status() -> int:
    """0, `ENGINE_DIED`, or what was noted."""
    return ENGINE_DIED if any(_died) else next(iter(_asked), 0)
