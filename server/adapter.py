"""The adapter that is active only in conversations with media: vLLM's LoRA, chosen per request.

vLLM's own `--default-mm-loras` chooses an adapter only where a request has media of a single modality. Here the choice
is made where every request enters the engine, on the processed prompt, whichever route it came by: a prompt with media
gets the adapter, one without gets the plain language model. A request that names an adapter of its own keeps it. Blocks
of the prefix cache are keyed by adapter, so neither kind ever reads the other's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from model.adapter import ADAPTER, MEDIA, adapter_rank
from model.errors import CheckpointError
from server.entrance import Entry, Guard

if TYPE_CHECKING:
    from model.configuration import QuartetConfig

NAME = "quartet-media"
# vLLM counts the ids of adapters that are loaded by name from 1 on.
ID = 2**31 - 1


def adapter_flags(directory: Path, config: "QuartetConfig") -> list[str]:
    """Flags of vLLM for the adapter in a servable directory; none where there is none to switch.

    Raises:
        CheckpointError: the configuration promises an adapter that is not there, or of a rank vLLM does not know.
    """
    if config.adapter_scope != MEDIA:
        return []
    from vllm.config.lora import MaxLoRARanks

    rank = adapter_rank(directory / ADAPTER)
    known = sorted(get_args(MaxLoRARanks))
    fitting = next((size for size in known if size >= rank), None)
    if fitting is None:
        raise CheckpointError(f"{directory / ADAPTER}: rank {rank} is above {known[-1]}, the largest that vLLM serves")
    return ["--enable-lora", "--max-lora-rank", str(fitting)]


async def load_adapter(engine_client: Any, directory: Path) -> Guard:
    """Load the adapter of `directory`; the guard of `server.entrance` that uses it for every prompt with media.

    Args:
        engine_client: of an API server, before its first request.
        directory: what is served, a directory from `model.assembly.assemble`.
    """
    from vllm.lora.request import LoRARequest

    adapter = LoRARequest(NAME, ID, str(directory / ADAPTER))
    # Before the first request needs it; and others that are loaded later never push it out.
    await engine_client.add_lora(adapter)
    await engine_client.pin_lora(ID)

    def switch(entry: Entry) -> None:
        if entry.options.get("lora_request") is None and has_media(entry.prompt):
            entry.options["lora_request"] = adapter

    return switch


def has_media(prompt: Any) -> bool:
    """Whether a processed prompt, or a request to the engine made from one, holds media."""
    if isinstance(prompt, Mapping):
        return prompt.get("type") == "multimodal" and any(len(places) for places in prompt["mm_placeholders"].values())
    return bool(getattr(prompt, "mm_features", None))
