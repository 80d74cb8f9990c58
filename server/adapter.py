"""The adapter that is active only in conversations with media: vLLM's LoRA, chosen per request.

vLLM's own `--default-mm-loras` chooses an adapter only where a request has media of a single modality. Here the choice
is made where every request enters the engine, on the processed prompt, whichever route it came by: a prompt with media
gets the adapter, one without gets the plain language model. A request that names an adapter of its own keeps it. Blocks
of the prefix cache are keyed by adapter, so neither kind ever reads the other's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.adapter import ADAPTER
from server.entrance import Entry, Guard

NAME = "quartet-media"
# vLLM counts the ids of adapters that are loaded by name from 1 on.
ID = 2**31 - 1


async def load_adapter(engine_client: Any, directory: Path) -> Guard:
    """Load the adapter of `directory`; the guard of `server.entrance` that uses it for every prompt with media.

    Args:
        engine_client: of an API server, before its first request.
        directory: what is served, a directory from `model.assembly.assemble`.
    """
    from vllm.lora.request import LoRARequest

    adapter = LoRARequest(NAME, ID, str(directory / ADAPTER))
    # Before the first request needs it. Not pinned: the engine would compute as many others beside it as it has room
    # for all of them together.
    await engine_client.add_lora(adapter)

    def switch(entry: Entry) -> None:
        if entry.options.get("lora_request") is None and has_media(entry.prompt):
            entry.options["lora_request"] = adapter

    return switch


def has_media(prompt: Any) -> bool:
    """Whether a processed prompt, or a request to the engine made from one, holds media."""
    if isinstance(prompt, Mapping):
        return prompt.get("type") == "multimodal" and any(len(places) for places in prompt["mm_placeholders"].values())
    return bool(getattr(prompt, "mm_features", None))
