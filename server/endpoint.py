"""Quartet's `vllm.endpoint_plugins` entry: what joins vLLM's API server once its own routes are in place.

Later routes go here: one router per file, included by `attach_router`, their state made in `init_state`.
"""

from argparse import Namespace
from typing import Any

from server.connector import register_connector


class QuartetEndpoint:
    """The endpoint plugin; vLLM makes one per API server process."""

    name = "quartet_http"
    required_tasks = ("generate", "render")

    def attach_router(self, app: Any) -> None:
        """Make the media connector known before the first request needs it."""
        register_connector()

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Nothing yet: no route of ours keeps state."""
