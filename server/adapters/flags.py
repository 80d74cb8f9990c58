"""What vLLM is started with, so that the adapters of the settings are served and more may come."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from model.adapter import ADAPTER, MEDIA, adapter_rank
from model.errors import CheckpointError, ConfigurationError, QuartetError
from server.adapters.files import take
from server.adapters.layers import linear_layers
from server.settings import ServerSettings

if TYPE_CHECKING:
    from model.configuration import QuartetConfig


def lora_flags(settings: ServerSettings, directory: Path, config: "QuartetConfig") -> list[str]:
    """Flags of vLLM for all adapters: the checkpoint's own, those of the settings, and room for later ones.

    Args:
        settings: which adapters.
        directory: what is served, from `model.assembly.assemble`.
        config: its configuration.

    Raises:
        CheckpointError: the checkpoint promises an adapter that is not there.
        ConfigurationError: an adapter of the settings is none of this language model, or one that is chosen by modality
            is not there.
    """
    for modality, name in settings.default_mm_loras.items():
        if modality not in config.modality_specs or name not in settings.lora_modules:
            kinds = ", ".join(config.modality_specs)
            raise ConfigurationError(
                f"default_mm_loras: {modality}={name}: name one of lora_modules for one of the model's media, {kinds}"
            )
    own = [adapter_rank(directory / ADAPTER)] if config.adapter_scope == MEDIA else []
    if not own and not settings.serves_adapters:
        return []
    ranks, modules = list(own), []
    layers = linear_layers(config) if settings.lora_modules else {}
    for name, path in settings.lora_modules.items():
        try:
            adapter = take(
                Path(path).expanduser(), layers, max_rank=known_ranks()[-1], max_bytes=settings.max_lora_bytes
            )
        except QuartetError as error:
            raise ConfigurationError(f"lora_modules: {name}: {path}: {error}") from None
        ranks.append(adapter.rank)
        modules.append(json.dumps({"name": name, "path": str(adapter.directory)}))
    if settings.hot_adapters:
        ranks.append(settings.max_lora_rank)
    flags = ["--enable-lora", "--max-lora-rank", str(fitting_rank(max(ranks), directory))]
    if settings.serves_adapters:
        # As many wait in memory as the settings name, so that none is read again while the server runs.
        kept = max(settings.max_loras, len(modules) + len(own))
        flags += ["--max-loras", str(settings.max_loras), "--max-cpu-loras", str(kept)]
    return [*flags, "--lora-modules", *modules] if modules else flags


def fitting_rank(rank: int, directory: Path) -> int:
    """The smallest rank that vLLM knows and that holds `rank`.

    Raises:
        CheckpointError: there is none.
    """
    known = known_ranks()
    fitting = next((size for size in known if size >= rank), None)
    if fitting is None:
        raise CheckpointError(f"{directory / ADAPTER}: rank {rank} is above {known[-1]}, the largest that vLLM serves")
    return fitting


def known_ranks() -> list[int]:
    """The ranks that vLLM's buffers may have."""
    from vllm.config.lora import MaxLoRARanks

    return sorted(get_args(MaxLoRARanks))
