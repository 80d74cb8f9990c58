"""Which requests the adapter for media is used for."""

from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model.adapter import ADAPTER
from server.adapter import has_media, load_adapter
from server.entrance import Entrance

TEXT = {"type": "token", "prompt_token_ids": [1, 2]}
MEDIA = {"type": "multimodal", "prompt_token_ids": [1, 2], "mm_placeholders": {"image": [object()]}}


class Engine:
    """Stands for vLLM's client of the engine: notes what reaches it."""

    def __init__(self) -> None:
        self.loaded: list[Any] = []
        self.requests: list[dict[str, Any]] = []

    async def add_lora(self, request: Any) -> bool:
        self.loaded.append(request)
        return True

    async def generate(self, prompt: Any, *args: Any, **options: Any) -> AsyncGenerator[str, None]:
        self.requests.append(options)
        yield "answer"


async def test_only_prompts_with_media_use_it_and_no_choice_is_overruled(tmp_path: Path) -> None:
    engine = Engine()
    Entrance(engine).guards.append(await load_adapter(engine, tmp_path))
    (adapter,) = engine.loaded
    assert adapter.lora_path == str(tmp_path / ADAPTER)
    own = object()
    for prompt, given in ((TEXT, None), (MEDIA, None), (MEDIA, own), (TEXT, own)):
        assert [part async for part in engine.generate(prompt, "parameters", "id", lora_request=given)] == ["answer"]
    assert [request["lora_request"] for request in engine.requests] == [None, adapter, own, own]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (TEXT, False),
        (MEDIA, True),
        ({**MEDIA, "mm_placeholders": {"image": []}}, False),
        (SimpleNamespace(mm_features=[object()]), True),
        (SimpleNamespace(mm_features=None), False),
        ("a text", False),
    ],
)
def test_media_are_seen_in_every_form_a_prompt_has(prompt: Any, expected: bool) -> None:
    assert has_media(prompt) is expected
