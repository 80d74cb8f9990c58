"""`GET /v1/models` and `GET /v1/models/{id}`: what is served, what it takes, and what a medium costs."""

from typing import Any

from fastapi import APIRouter, Request

from model.containers import CONTAINER_FORMATS
from model.media import IMAGE_FORMATS, SOUND_FORMATS
from server.errors import refuse
from server.exchange import current_exchange
from server.settings import current

router = APIRouter()
OWNER = "quartet"
FORMATS = {"image": IMAGE_FORMATS, "audio": SOUND_FORMATS + CONTAINER_FORMATS}


@router.get("/v1/models")
async def list_models(raw: Request) -> dict[str, Any]:
    """Every model id that a request may name: the model itself and its adapters, of those that its key may use."""
    return {"object": "list", "data": await usable(raw)}


@router.get("/v1/models/{name:path}")
async def retrieve_model(name: str, raw: Request) -> dict[str, Any]:
    """One of them."""
    return await check_model(name, raw)


async def check_model(name: str, raw: Request) -> dict[str, Any]:
    """The card of a model.

    Raises:
        RefusedError: 404, there is none of this name, or it is not for this key.
    """
    for card in await usable(raw):
        if card["id"] == name:
            return card
    raise refuse(404, f"The model {name[:200]!r} does not exist.", param="model", code="model_not_found")


async def usable(raw: Request) -> list[dict[str, Any]]:
    """The cards of the models that the key of the request may use."""
    key = current_exchange().key
    return [card for card in await cards(raw) if key is None or key.may_use(card["id"])]


async def cards(raw: Request) -> list[dict[str, Any]]:
    """The engine's list, without the paths of this machine and with what a client wants to know."""
    state = raw.app.state
    config = state.vllm_config.model_config
    listed = await state.openai_serving_models.show_available_models()
    media = {name: medium(name, spec, config) for name, spec in config.hf_config.modality_specs.items()}
    common = {
        "object": "model",
        "owned_by": OWNER,
        "context_length": config.max_model_len,
        "max_model_len": config.max_model_len,
        "architecture": {
            "input_modalities": ["text", *sorted(name for name, limits in media.items() if limits["max_items"])],
            "output_modalities": ["text"],
        },
        "media": media,
    }
    return [
        {"id": card.id, "created": state.quartet_started, "root": card.parent or card.id, "parent": card.parent}
        | common
        for card in listed.data
    ]


def medium(modality: str, spec: Any, config: Any) -> dict[str, Any]:
    """What one medium costs and may be.

    Args:
        modality: `image` or `audio`.
        spec: its `model.configuration.Modality`.
        config: the engine's model configuration, which knows how many media a conversation may hold.
    """
    limits = current().media_limits
    window = getattr(spec.encoder, "max_seconds", None)
    of_its_kind: dict[str, dict[str, float]] = {
        "image": {"max_pixels": limits.max_pixels},
        "audio": {
            "max_seconds": limits.max_seconds if window is None else min(limits.max_seconds, window),
            "max_channels": limits.max_channels,
        },
    }
    return {
        "tokens": spec.tokens,
        "max_items": config.get_multimodal_config().get_limit_per_prompt(modality),
        "max_bytes": limits.max_bytes,
        "formats": [name.lower() for name in FORMATS.get(modality, ())],
        **of_its_kind.get(modality, {}),
    }
