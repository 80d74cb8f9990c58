"""Which adapter a conversation with media uses when it names none: the setting `default_mm_loras`.

vLLM's option of this name looks at the types of a chat's parts, and its adapters are called like the modality. Here the
processed prompt decides, whichever route it came by. One prompt can have one adapter: where the media of a conversation
ask for two different ones it gets neither, and is left to the adapter of the checkpoint (`server.adapter`), if it has
one; where they ask for one, that one takes the place of the checkpoint's.
"""

from collections.abc import Mapping
from typing import Any

from server.entrance import Entry, Guard


def default_adapters(state: Any, names: Mapping[str, str]) -> Guard:
    """The guard of `server.entrance` that chooses.

    Args:
        state: of the application; its list of adapters is there once requests are.
        names: modality -> model id of an adapter.
    """

    def choose(entry: Entry) -> None:
        if entry.options.get("lora_request") is not None:
            return
        wanted = {names[modality] for modality in modalities(entry.prompt) if modality in names}
        if len(wanted) == 1:
            entry.options["lora_request"] = state.openai_serving_models.lora_requests[wanted.pop()]

    return choose


def modalities(prompt: Any) -> set[str]:
    """The modalities of a processed prompt, or of a request to the engine made from one."""
    if isinstance(prompt, Mapping):
        places = prompt.get("mm_placeholders") if prompt.get("type") == "multimodal" else None
        return {modality for modality, ranges in (places or {}).items() if len(ranges)}
    return {feature.modality for feature in getattr(prompt, "mm_features", None) or ()}
