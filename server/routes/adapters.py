"""`POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`: adapters by the hand of an admin.

They exist only where the settings name a directory to load from and requests need keys.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from server.adapters.hot import HotAdapters
from server.errors import refuse
from server.exchange import current_exchange
from server.keys.key import ADMIN
from server.requests import read, validated
from server.routes.models import cards

router = APIRouter()


class Load(BaseModel):
    """What to load; the first three as vLLM calls them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lora_name: str
    lora_path: Annotated[str, Field(min_length=1, max_length=1024)]
    load_inplace: bool = False
    sha256: Annotated[str, Field(pattern=r"^(sha256:)?[0-9a-fA-F]{64}$")] | None = None


class Unload(BaseModel):
    """What to unload."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lora_name: str


@router.post("/v1/load_lora_adapter")
async def load(raw: Request) -> dict[str, Any]:
    """The card of the new model, as in `/v1/models`, with the sha256 of its weights."""
    adapters = allowed(raw)
    asked = validated(Load, await read(raw))
    adapter = await adapters.load(asked.lora_name, asked.lora_path, asked.sha256, asked.load_inplace)
    card = next(card for card in await cards(raw) if card["id"] == asked.lora_name)
    return {**card, "sha256": adapter.sha256}


@router.post("/v1/unload_lora_adapter")
async def unload(raw: Request) -> dict[str, Any]:
    """As OpenAI answers the deletion of a model."""
    adapters = allowed(raw)
    asked = validated(Unload, await read(raw))
    await adapters.unload(asked.lora_name)
    return {"id": asked.lora_name, "object": "model", "deleted": True}


def allowed(raw: Request) -> HotAdapters:
    """What the routes work on.

    Raises:
        RefusedError: 404 where they do not exist, 403 for the key of a user, 501 with several API processes.
    """
    adapters: HotAdapters | None = getattr(raw.app.state, "quartet_adapters", None)
    if adapters is None:
        raise refuse(404, f"there is no {raw.method} {raw.url.path[:200]} here")
    key = current_exchange().key
    if key is None or key.role != ADMIN:
        raise refuse(403, "adapters need the key of an admin")
    if not adapters.alone:
        raise refuse(501, "with several API processes, name adapters in lora_modules and start the server again")
    return adapters
