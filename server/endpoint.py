"""Quartet's `vllm.endpoint_plugins` entry: what joins vLLM's API server once its own routes are in place.

Routes are in `server.routes`; what they need to keep is made in `init_state`.
"""

import gc
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

from model.adapter import MEDIA
from server.adapter import load_adapter
from server.adapters.choice import default_adapters
from server.adapters.hot import hot_adapters
from server.connector import register_connector
from server.entrance import Entrance
from server.fetch.web import register_web
from server.files.setup import start_files
from server.keys.salt import separate_prefixes
from server.life.end import watch_end
from server.limits.answers import count_answers
from server.media.limits import hear_at_most, see_as
from server.media.once import decode_once
from server.media.pool import decode_pool
from server.metrics.route import begin
from server.middleware.routes import OTHER, template
from server.prompts import count_prompts
from server.settings import current
from server.traces.engine import trace_engine

# Objects that are made between two looks of the garbage collector at the youngest. Python's own 700 are what three
# answers leave, and 3 % of the time of this process were spent on looking.
YOUNG = 5_000


class QuartetEndpoint:
    """The endpoint plugin; vLLM makes one per API server process."""

    name = "quartet_http"
    required_tasks = ("generate", "render")

    def attach_router(self, app: Any) -> None:
        """Add our routes, and make the media connector known before the first request needs it."""
        from server.routes import ROUTERS

        register_connector()
        register_web()
        # What nobody may call need not be looked through for every request.
        app.router.routes[:] = [one for one in app.router.routes if template(getattr(one, "path", "")) != OTHER]
        # It counts what `server.middleware.outcome` counts, under the names of all routes that vLLM has.
        app.user_middleware = [one for one in app.user_middleware if one.cls is not PrometheusInstrumentatorMiddleware]
        for router in ROUTERS:
            app.include_router(router)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Count what enters the engine; let prompts with media use the adapter, where the model has one for them."""
        if engine_client is None:
            return  # a server that only renders prompts
        config = engine_client.model_config.hf_config
        state.quartet_started = int(time.time())
        gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
        for spec in config.modality_specs.values():
            if (window := getattr(spec.encoder, "max_seconds", None)) is not None:
                hear_at_most(window)
            if spec.name == "image" and spec.encoder.sight is not None:
                see_as(spec.encoder.sight)
        decode_pool()
        state.quartet_adapters = hot_adapters(current(), state, config, args)
        watch_end(engine_client)
        start_files(state)
        begin()
        decode_once(engine_client)
        entrance = Entrance(engine_client)
        entrance.guards += [count_prompts(tuple(config.modality_specs)), count_answers, trace_engine, separate_prefixes]
        if current().default_mm_loras:
            entrance.guards.append(default_adapters(state, current().default_mm_loras))
        if getattr(config, "adapter_scope", None) == MEDIA:
            entrance.guards.append(await load_adapter(engine_client, Path(engine_client.model_config.model)))
