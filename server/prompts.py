"""What of a prompt stands for media: counted where every prompt enters the engine, whichever route it came by."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.entrance import Entry, Guard
from server.metrics import definitions as metrics


def count_prompts(modalities: Sequence[str]) -> Guard:
    """A guard of `server.entrance`: notes the tokens of each prompt in the exchange it belongs to."""

    def count(entry: Entry) -> None:
        exchange = entry.exchange
        for modality, tokens in (dict.fromkeys(modalities, 0) | media_tokens(entry.prompt)).items():
            exchange.media_tokens[modality] = exchange.media_tokens.get(modality, 0) + tokens
            metrics.PROMPT_MEDIA_TOKENS.labels(modality).inc(tokens)
        if isinstance(entry.prompt, Mapping):
            exchange.prompt_tokens += len(entry.prompt.get("prompt_token_ids") or ())

    return count


def media_tokens(prompt: Any) -> dict[str, int]:
    """Tokens that stand for media in a processed prompt, by modality."""
    places = prompt.get("mm_placeholders") if isinstance(prompt, Mapping) else None
    return {modality: sum(place.length for place in ranges) for modality, ranges in (places or {}).items() if ranges}


def token_details(tokens: int, media: Mapping[str, int]) -> dict[str, int]:
    """`text_tokens`, `image_tokens`, `audio_tokens`, ... of a prompt of so many tokens."""
    counted = {f"{modality}_tokens": count for modality, count in media.items()}
    return {"text_tokens": tokens - sum(media.values()), **counted}
