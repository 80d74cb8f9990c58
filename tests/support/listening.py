"""An ASGI application behind a real HTTP server, in a thread of the test."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.support.serving import free_port


@contextmanager
def listening(
    app: Any, log_level: str = "warning", prepare: Callable[[uvicorn.Config], None] | None = None, **options: Any
) -> Iterator[int]:
    """Serves `app` on a loopback port, which it gives, until the block ends; `prepare` may change what was loaded."""
    port = free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, log_level=log_level, lifespan="off", **options)
    config.load()
    if prepare is not None:
        prepare(config)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join(10)
