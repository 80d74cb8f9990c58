"""`GET /openapi.json`: what this server exposes, as OpenAPI."""

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request, Response

from server.settings import current

router = APIRouter()


@router.get("/openapi.json")
async def openapi(raw: Request) -> Response:
    """The document; made when it is first asked for, off the event loop, since that takes seconds."""
    state: Any = raw.app.state
    if not hasattr(state, "quartet_openapi"):
        state.quartet_openapi = await asyncio.to_thread(_make)
    return Response(state.quartet_openapi, media_type="application/json")


def _make() -> bytes:
    from server.openapi.document import document

    return json.dumps(document(current()), separators=(",", ":")).encode()
