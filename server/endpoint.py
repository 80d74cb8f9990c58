"""Quartet's `vllm.endpoint_plugins` entry: what joins vLLM's API server once its own routes are in place.

Later routes go here: one router per file, included by `attach_router`, their state made in `init_state`.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from model.adapter import MEDIA
from server.adapter import switch_adapter
from server.connector import register_connector


class QuartetEndpoint:
    """The endpoint plugin; vLLM makes one per API server process."""

    name = "quartet_http"
    required_tasks = ("generate", "render")

    def attach_router(self, app: Any) -> None:
        """Make the media connector known before the first request needs it."""
        register_connector()

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Let prompts with media use the adapter, where the model has one for them."""
        config = engine_client.model_config.hf_config
        if getattr(config, "adapter_scope", None) == MEDIA:
            await switch_adapter(engine_client, Path(engine_client.model_config.model))
