"""A real Prometheus with the shipped rules scrapes our middleware under load: the alert fires, the dashboard has data.

The engine is left out here; its metrics, and those of a whole server, are asked for in tests/e2e/test_observed.py.
"""

import asyncio
import base64
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from server.connector import QuartetConnector
from server.life.pressure import BackPressure
from server.metrics import definitions as metrics
from server.metrics import engine, route
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcomes
from server.middleware.routes import AllowedRoutes
from tests.support.listening import listening
from tests.support.monitoring import RULES, prometheus, queries
from tests.support.tiny import picture_bytes

CHAT = "/v1/chat/completions"
PICTURE = "data:;base64," + base64.b64encode(picture_bytes(0)).decode()

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian: prometheus)")


def application() -> Any:
    """Our middleware around a route that decodes a picture and streams for a while; one request at a time."""
    app = FastAPI()
    app.state.engine_client = SimpleNamespace(errored=False)
    app.include_router(route.router)

    @app.post(CHAT)
    async def chat(raw: Request) -> Response:
        await QuartetConnector().fetch_image_async(PICTURE)
        engine.observe("image", 2, 0.01)
        metrics.PROMPT_MEDIA_TOKENS.labels("image").inc(4)

        async def events() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(0.05)
                yield b"data: {}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return RequestHeaders(Outcomes(AllowedRoutes(BackPressure(OpenAIErrors(app), 1, 0, 1.0))))


@pytest.fixture
def port() -> Iterator[int]:
    route.begin()
    with listening(application()) as chosen:
        yield chosen


def test_a_full_server_makes_the_alert_fire_and_the_dashboard_shows_it(port: int, tmp_path: Path) -> None:
    # As shipped, but that nothing has to last for minutes before an alert fires.
    rules = re.sub(r"for: \d+m", "for: 1s", RULES.read_text())
    statuses: list[int] = []

    def ask(_: int) -> None:
        statuses.append(httpx.post(f"http://127.0.0.1:{port}{CHAT}", json={}, timeout=30, verify=False).status_code)

    with prometheus(tmp_path, {f"127.0.0.1:{port}": None}, rules) as running:
        running.until("quartet_build_info")
        assert running.query('ALERTS{alertname="QuartetOverload"}') == []
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(40)))
        assert {200, 503} == set(statuses)
        fired = running.until('ALERTS{alertname="QuartetOverload", alertstate="firing"}')
        assert [alert["metric"]["instance"] for alert in fired] == [f"127.0.0.1:{port}"]
        # A full server is not a broken one.
        assert running.query('ALERTS{alertname=~"QuartetErrorRatio|QuartetEngineDead"}') == []
        (refused,) = running.until('quartet_rejected_requests_total{reason="server_overloaded"}')
        assert float(refused["value"][1]) == statuses.count(503)
        running.until("sum(rate(quartet_media_decode_seconds_count[1m])) > 0")
        ours = {name: query for name, query in queries().items() if "vllm:" not in query}
        assert len(ours) > 25
        assert [name for name, query in ours.items() if not running.query(query)] == []
