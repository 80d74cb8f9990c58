"""How a run is spread over several GPUs, through accelerate: DeepSpeed ZeRO-2, or fully sharded data parallel (FSDP).

Such a run is started with one process per GPU, `torchrun --nproc-per-node 8 -m model.cli train ...`. Without a
`parallel` entry in the recipe that gives plain data parallel.
"""

import importlib.util
from dataclasses import dataclass, field
from typing import Any

from model.errors import ConfigurationError
from model.fields import check_choice

DEEPSPEED, FSDP = "deepspeed", "fsdp"


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """What is sharded over the GPUs."""

    type: str
    """`deepspeed`: ZeRO stage 2 shards gradients and optimizer (Rajbhandari et al. 2020, section 5); `fsdp` shards the
    parameters too."""
    offload: bool = False
    """Keep what is sharded in the CPU's memory: slower, for models that do not fit otherwise."""
    wrap: list[str] = field(default_factory=list)
    """For `fsdp`: classes of layers that are sharded one by one; by default the language model's decoder layers."""

    def __post_init__(self) -> None:
        check_choice("type", self.type, (DEEPSPEED, FSDP))
        if self.wrap and self.type != FSDP:
            raise ConfigurationError("wrap: goes with type fsdp")


def parallel_arguments(parallel: Parallel | None, dtype: str) -> dict[str, Any]:
    """Arguments of transformers' `TrainingArguments` that spread a run; none where it is not asked for.

    Args:
        parallel: the recipe's entry.
        dtype: the recipe's, which DeepSpeed computes in.
    """
    if parallel is None:
        return {}
    if parallel.type == DEEPSPEED:
        return {"deepspeed": deepspeed_config(parallel, dtype)}
    config: dict[str, Any] = {
        "version": 2,
        "reshard_after_forward": True,
        "cpu_offload": parallel.offload,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        # Whole tensors in saved steps, which hold only what is trained.
        "state_dict_type": "FULL_STATE_DICT",
    }
    if parallel.wrap:
        config["transformer_layer_cls_to_wrap"] = list(parallel.wrap)
    return {"fsdp": True, "fsdp_config": config}


def deepspeed_config(parallel: Parallel, dtype: str) -> dict[str, Any]:
    """DeepSpeed's configuration for ZeRO stage 2.

    Optimizer and schedule are the trainer's own, so neither is in it; `auto` values are the trainer's too.
    """
    zero: dict[str, Any] = {
        "stage": 2,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "allgather_partitions": True,
    }
    if parallel.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        # Ours has one group of parameters per learning rate.
        "zero_allow_untested_optimizer": True,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def check_parallel(parallel: Parallel | None) -> None:
    """Refuse to begin what would fail after minutes of preparation.

    Raises:
        ConfigurationError: DeepSpeed is not installed.
    """
    if parallel is not None and parallel.type == DEEPSPEED and importlib.util.find_spec("deepspeed") is None:
        raise ConfigurationError(
            'parallel.type: deepspeed is not installed: pip install "quartet[deepspeed]" on a machine with GPUs, or '
            "remove the entry to train without it"
        )
