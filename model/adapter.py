"""The LoRA adapter of a checkpoint's language model: made for training, saved in PEFT's format, loaded again.

Where a checkpoint's `adapter_scope` is `always`, the adapter is merged into the weights wherever they are used. Where
it is `media`, the weights stay as they are and the adapter is switched on only for conversations with a medium in them:
to every other conversation the model is, bit for bit, the plain language model.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from model.encoders import load_state
from model.errors import CheckpointError, ConfigurationError
from model.fields import check_choice, check_range
from model.tensor_file import compare, write_tensors

# Folder of a checkpoint that holds it.
ADAPTER = "adapter"
ALWAYS, MEDIA = "always", "media"
SCOPES = (ALWAYS, MEDIA)
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# PEFT's own: names in its files start with it, and its layers keep adapters under a name that files leave out.
PREFIX, NAME = "base_model.model.", "default"
# The name of every adapter parameter holds this, and no other parameter's does.
PARAMETER = ".lora_"


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """A LoRA adapter to train (Hu et al. 2021): W x + alpha / rank * B A x in the targeted linear layers."""

    rank: int = 8
    """Of the update: columns of A, rows of B."""
    alpha: float = 16.0
    """Scales the update, divided by the rank."""
    dropout: float = 0.0
    """Of the adapter's input, while training; S3 uses 0.05."""
    targets: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Last parts of the names of the linear layers that get one."""
    scope: str = ALWAYS
    """`always`, or `media`: only in conversations with a medium, so that text-only answers do not change."""

    def __post_init__(self) -> None:
        check_range("rank", self.rank, 1, 512)
        check_range("alpha", self.alpha, 0.01, 4096)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_choice("scope", self.scope, SCOPES)
        if not self.targets:
            raise ConfigurationError("targets: name at least one kind of linear layer, such as q_proj")


def add_adapter(llm: PreTrainedModel, config: AdapterConfig) -> None:
    """Put a new adapter into a language model, in place; it changes nothing yet (B is zero).

    Raises:
        ConfigurationError: a target that no layer of this language model is called.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, _ in llm.named_modules()]
    for target in config.targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise ConfigurationError(f"targets: no layer of this language model is called {target!r}")
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=config.targets
    )
    inject_adapter_in_model(settings, llm)
    for name, parameter in llm.named_parameters():
        if PARAMETER in name:
            # Updates are too small for bfloat16.
            parameter.data = parameter.data.float()


def save_adapter(llm: PreTrainedModel, config: AdapterConfig, directory: Path, dtype: torch.dtype) -> None:
    """Write what `add_adapter` put into `llm`, as PEFT and vLLM read it."""
    directory.mkdir(parents=True, exist_ok=True)
    state = {
        _saved_name(name): parameter.detach().to("cpu", dtype).contiguous()
        for name, parameter in llm.named_parameters()
        if PARAMETER in name
    }
    write_tensors(state, directory / WEIGHTS)
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": list(config.targets),
        "bias": "none",
        "inference_mode": True,
        "base_model_name_or_path": None,
    }
    (directory / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_adapter(directory: Path, scope: str = ALWAYS) -> AdapterConfig:
    """The configuration of a saved adapter, as it would be trained; its file does not say the scope.

    Raises:
        CheckpointError: no readable `adapter_config.json` of a LoRA adapter.
    """
    path = directory / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return AdapterConfig(
            rank=int(values["r"]),
            alpha=float(values["lora_alpha"]),
            dropout=float(values.get("lora_dropout", 0.0)),
            targets=list(values["target_modules"]),
            scope=scope,
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError) as error:
        raise CheckpointError(f"{path}: not the configuration of a LoRA adapter ({error!r})") from None


def restore_adapter(llm: PreTrainedModel, directory: Path) -> None:
    """Write the weights of a saved adapter into the one that `add_adapter` put into `llm`, to train it further.

    Raises:
        CheckpointError: it is another language model's, or has another rank or other targets.
    """
    state = load_state(directory / WEIGHTS)
    parameters = {_saved_name(name): parameter for name, parameter in llm.named_parameters() if PARAMETER in name}
    compare(state, parameters, str(directory / WEIGHTS))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def _saved_name(parameter: str) -> str:
    """The name in PEFT's files of a parameter of `add_adapter`'s."""
    return PREFIX + parameter.replace(f".{NAME}.", ".")


def load_adapter(llm: PreTrainedModel, directory: Path, scope: str) -> PreTrainedModel:
    """The language model with a saved adapter: merged, or beside its weights where the scope is `media`.

    Raises:
        CheckpointError: the adapter cannot be read or is another language model's.
    """
    from peft import PeftModel

    try:
        adapted = PeftModel.from_pretrained(llm, str(directory))
    # PEFT reports damaged files and foreign shapes with many kinds of errors.
    except Exception as error:
        raise CheckpointError(f"{directory}: no adapter of this language model ({error})") from error
    merged: PreTrainedModel = adapted.merge_and_unload() if scope == ALWAYS else adapted.get_base_model()
    return merged.eval()


def adapter_rank(directory: Path) -> int:
    """Rank of a saved adapter.

    Raises:
        CheckpointError: no readable `adapter_config.json`.
    """
    return read_adapter(directory).rank


def adapter_layers(llm: PreTrainedModel) -> Sequence[Any]:
    """The layers of a language model that hold an adapter beside their weights."""
    # Without one there is no need to load PEFT.
    if not any(PARAMETER in name for name, _ in llm.named_parameters()):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in llm.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def adapter_switched(layers: Sequence[Any], active: bool) -> Iterator[None]:
    """Switch the adapter in `layers` on or off for a while."""
    changed = [layer for layer in layers if layer.disable_adapters == active]
    # Switching is what decides, in PEFT, which parameters are trained.
    trained = [(parameter, parameter.requires_grad) for layer in changed for parameter in layer.parameters()]
    for layer in changed:
        layer.enable_adapters(active)
    try:
        yield
    finally:
        for layer in changed:
            layer.enable_adapters(not active)
        for parameter, flag in trained:
            parameter.requires_grad_(flag)
