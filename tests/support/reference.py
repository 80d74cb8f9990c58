"""The reference model as the other side of parity tests: the same messages in, the answer the server must give out."""

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.media import decode_audio, decode_data_url, decode_image
from model.prompt import Prompt, media_parts
from model.reference import Generation, QuartetForConditionalGeneration
from tests.support.tiny import picture_bytes, sound_bytes


@dataclass(frozen=True)
class Reference:
    """A loaded checkpoint that answers API messages greedily, in float32."""

    model: QuartetForConditionalGeneration
    prompt: Prompt

    @classmethod
    def load(cls, checkpoint: Path) -> "Reference":
        opened = Checkpoint.open(checkpoint)
        return cls(opened.load(), Prompt(opened.tokenizer(), opened.config))

    def ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return self.prompt.encode(messages)

    def features(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        inputs: dict[str, list[Tensor]] = defaultdict(list)
        for _, modality, part in media_parts(messages):
            encoder = self.prompt.config.modality_specs[modality].encoder
            inputs[modality].append(encoder.preprocess(read_part(part)))
        return {modality: torch.stack(self.model.encode(modality, items)) for modality, items in inputs.items()}

    def answer(self, messages: Sequence[Mapping[str, Any]], max_tokens: int = 8) -> Generation:
        return self.model.answer(self.ids(messages), self.features(messages), max_tokens=max_tokens)


def read_part(part: Mapping[str, Any]) -> Any:
    """The decoded medium of an API content part."""
    if part["type"] == "input_audio":
        return decode_audio(base64.b64decode(part["input_audio"]["data"]))
    data = decode_data_url(part[part["type"]]["url"])
    return decode_image(data) if part["type"] == "image_url" else decode_audio(data)


def text(words: str) -> dict[str, Any]:
    """A text part."""
    return {"type": "text", "text": words}


def image(seed: int = 0, *, data: bytes | None = None) -> dict[str, Any]:
    """A picture part; the picture is different for every seed."""
    payload = base64.b64encode(picture_bytes(seed) if data is None else data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{payload}"}}


def audio(seed: int = 0, *, data: bytes | None = None, seconds: float = 0.5, rate: int = 16_000) -> dict[str, Any]:
    """A sound part, different for every seed."""
    payload = base64.b64encode(sound_bytes(seed, seconds, rate) if data is None else data).decode()
    return {"type": "input_audio", "input_audio": {"data": payload, "format": "wav"}}


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    """A user turn; bare strings are text parts, and a single one is plain content."""
    if len(parts) == 1 and isinstance(parts[0], str):
        return {"role": "user", "content": parts[0]}
    return {"role": "user", "content": [text(part) if isinstance(part, str) else part for part in parts]}
