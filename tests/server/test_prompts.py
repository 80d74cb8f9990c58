"""What of a prompt stands for media is noted in the exchange it belongs to."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from server.entrance import Entrance
from server.exchange import Exchange, begin, current_exchange
from server.prompts import count_prompts, media_tokens, token_details


@dataclass
class Range:
    length: int


class Engine:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def generate(self, prompt: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[str, None]:
        self.seen.append((prompt, args, kwargs))
        yield "answer"


PROMPT = {"prompt_token_ids": [1] * 20, "mm_placeholders": {"image": [Range(4), Range(4)], "audio": []}}


@pytest.fixture
def engine() -> Engine:
    made = Engine()
    Entrance(made).guards.append(count_prompts(("image", "audio")))
    return made


async def test_prompts_are_counted_and_handed_on(engine: Engine) -> None:
    begin(Exchange(request_id="r"))
    assert [piece async for piece in engine.generate(PROMPT, "params", request_id="x")] == ["answer"]
    assert engine.seen == [(PROMPT, ("params",), {"request_id": "x"})]
    assert current_exchange().media_tokens == {"image": 8, "audio": 0}
    assert current_exchange().prompt_tokens == 20
    _ = [piece async for piece in engine.generate(PROMPT)]
    assert current_exchange().media_tokens == {"image": 16, "audio": 0}


async def test_text_has_no_media(engine: Engine) -> None:
    begin(Exchange(request_id="r"))
    for prompt in ("text", {"prompt_token_ids": [1, 2], "mm_placeholders": None}, object()):
        _ = [piece async for piece in engine.generate(prompt)]
    assert current_exchange().media_tokens == {"image": 0, "audio": 0}
    assert current_exchange().prompt_tokens == 2


def test_details() -> None:
    assert media_tokens(PROMPT) == {"image": 8}
    assert token_details(20, {"image": 8, "audio": 0}) == {"text_tokens": 12, "image_tokens": 8, "audio_tokens": 0}
