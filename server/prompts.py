"""What of a prompt stands for media: counted where every prompt enters the engine, whichever route it came by."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from server.exchange import current_exchange


def watch_prompts(engine_client: Any, modalities: Sequence[str]) -> None:
    """Let `engine_client` note the tokens of each prompt in the exchange it belongs to; changed in place."""
    generate = engine_client.generate

    def watched(prompt: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        exchange = current_exchange()
        counted = dict.fromkeys(modalities, 0) | media_tokens(prompt)
        for modality, tokens in counted.items():
            exchange.media_tokens[modality] = exchange.media_tokens.get(modality, 0) + tokens
        if isinstance(prompt, Mapping):
            exchange.prompt_tokens += len(prompt.get("prompt_token_ids") or ())
        stream: AsyncGenerator[Any, None] = generate(prompt, *args, **kwargs)
        return stream

    engine_client.generate = watched


def media_tokens(prompt: Any) -> dict[str, int]:
    """Tokens that stand for media in a processed prompt, by modality."""
    places = prompt.get("mm_placeholders") if isinstance(prompt, Mapping) else None
    return {modality: sum(place.length for place in ranges) for modality, ranges in (places or {}).items() if ranges}


def token_details(tokens: int, media: Mapping[str, int]) -> dict[str, int]:
    """`text_tokens`, `image_tokens`, `audio_tokens`, ... of a prompt of so many tokens."""
    counted = {f"{modality}_tokens": count for modality, count in media.items()}
    return {"text_tokens": tokens - sum(media.values()), **counted}
