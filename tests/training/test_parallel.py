"""Runs over several GPUs: what reaches transformers and DeepSpeed. None of it was run: there was no such machine."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from accelerate.data_loader import BatchSamplerShard
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from model.errors import ConfigurationError
from tests.training.test_batches import conversations, stage
from training import trainer
from training.batches import LengthBatches
from training.parallel import Parallel, check_parallel, deepspeed_config, parallel_arguments
from training.trainer import Surroundings, training_arguments

# What `auto` stands for in DeepSpeed's configuration where transformers fills it in.
AUTO = {
    "gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu",
}  # fmt: skip


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_deepspeed_is_asked_for_zero_2(dtype: str, offload: bool) -> None:
    config = deepspeed_config(Parallel(type="deepspeed", offload=offload), dtype)
    zero = config["zero_optimization"]
    assert zero["stage"] == 2
    assert ("offload_optimizer" in zero) == offload
    assert (config["bf16"]["enabled"], config["fp16"]["enabled"]) == (dtype == "bfloat16", dtype == "float16")
    assert {key for key, value in config.items() if value == "auto"} == AUTO
    assert not {"optimizer", "scheduler"} & config.keys(), "they are the trainer's own"


class Filled(HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):
    """What fills in `auto` values, where DeepSpeed itself, which its own making asks for, is not installed."""

    def __init__(self, values: dict[str, Any]) -> None:
        HfDeepSpeedConfig.__init__(self, values)
        self._dtype = None
        self.mismatches: list[str] = []


def test_transformers_accepts_the_configuration() -> None:
    config = Filled(deepspeed_config(Parallel(type="deepspeed"), "bfloat16"))
    args = training_arguments(stage(accumulation=4), Path("x"), Surroundings(autocast="bfloat16"), None)
    config.trainer_config_process(args)
    config.trainer_config_finalize(args, model=None, num_training_steps=10)
    assert config.config["gradient_accumulation_steps"] == 4
    assert config.config["gradient_clipping"] == 1.0
    assert config.mismatches == []


@pytest.mark.parametrize(
    ("parallel", "expected"),
    [
        (None, {}),
        (Parallel(type="deepspeed"), {"deepspeed": deepspeed_config(Parallel(type="deepspeed"), "bfloat16")}),
    ],
)
def test_the_trainer_hands_it_on(
    parallel: Parallel | None, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(trainer, "TrainingArguments", lambda **given: seen.update(given))
    around = Surroundings(autocast="bfloat16", parallel=parallel_arguments(parallel, "bfloat16"))
    training_arguments(stage(), Path("x"), around, None)
    assert {name: value for name, value in seen.items() if name in ("deepspeed", "fsdp", "fsdp_config")} == expected
    assert seen["bf16"] is True


def test_fsdp_becomes_the_plugin_of_accelerate(tmp_path: Path) -> None:
    parallel = Parallel(type="fsdp", offload=True, wrap=["LlamaDecoderLayer"])
    around = Surroundings(parallel=parallel_arguments(parallel, "bfloat16"))
    args = training_arguments(stage(), tmp_path, around, None)
    plugin = args.fsdp_plugin_args
    assert plugin["fsdp_version"] == 2
    assert plugin["cpu_offload"] is True
    assert plugin["transformer_cls_names_to_wrap"] == "LlamaDecoderLayer"
    assert plugin["state_dict_type"] == "FULL_STATE_DICT"


def test_a_run_does_not_begin_without_deepspeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'parallel\.type: deepspeed is not installed: pip install "quartet\['):
        check_parallel(Parallel(type="deepspeed"))
    check_parallel(Parallel(type="fsdp"))
    check_parallel(None)


def test_every_device_gets_its_own_batches_and_as_many() -> None:
    batches = LengthBatches(conversations([8] * 10), [8], stage(batch_rows=2, batch_tokens=None), 0, devices=2)
    shards = [list(BatchSamplerShard(batches, 2, index, even_batches=False)) for index in range(2)]
    assert len(shards[0]) == len(shards[1]) == 3
    assert {row for shard in shards for batch in shard for row in batch} == set(range(10))
