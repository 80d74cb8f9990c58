"""Which LoRA adapters are served beside the model; see `server.adapters`."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from server.settings.sections import Mapping, Section

# vLLM uses an adapter that is called like the first part of a content part's type for every chat with such a part.
RESERVED = frozenset(("text", "image", "audio", "video", "input", "output", "file", "refusal", "thinking", "prompt"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


class AdapterSettings(Section):
    """LoRA adapters of the language model."""

    title: ClassVar[str] = "Adapters"

    lora_modules: Mapping = {}
    """LoRA adapters by model id: directories that PEFT wrote."""
    default_mm_loras: Mapping = {}
    """By modality, which of `lora_modules` conversations with such media use when they name none."""
    lora_directory: str | None = None
    """Directory from which the key of an admin may load adapters while the server runs; by default nobody may."""
    max_loras: Annotated[int, Field(ge=1, le=1024)] = 4
    """Most adapters computed at a time; requests of further ones wait for their turn."""
    max_lora_rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Largest rank of an adapter that is loaded while the server runs."""
    max_lora_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 1 << 30
    """Largest file of an adapter's weights."""

    @field_validator("lora_modules")
    @classmethod
    def _names(cls, modules: dict[str, str]) -> dict[str, str]:
        for name in modules:
            if not is_adapter_name(name):
                raise ValueError(f"{name[:80]!r} cannot be the name of an adapter")
        return modules


def is_adapter_name(name: str) -> bool:
    """Whether an adapter may have this model id: short, plain, and not what vLLM takes for a kind of content."""
    return _NAME.fullmatch(name) is not None and name not in RESERVED
