"""LoRA adapters for tests: random, large enough to change every answer, written by PEFT as users' are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model.llm import load_llm

TARGETS = ("q_proj", "v_proj", "down_proj")


def train_adapter(llm: Path, directory: Path, *, seed: int, rank: int = 4, targets: Sequence[str] = TARGETS) -> Any:
    """Write a random adapter of the bare language model; the model with it merged, in float32."""
    from peft import LoraConfig, get_peft_model

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), task_type="CAUSAL_LM")
        adapted = get_peft_model(load_llm(llm, torch.float32), config)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    finally:
        torch.random.set_rng_state(state)
    adapted.save_pretrained(str(directory))
    return adapted.merge_and_unload().eval()


@torch.no_grad()
def greedy(model: Any, ids: Sequence[int], tokens: int) -> tuple[list[int], list[float]]:
    """The next tokens and their log-probabilities."""
    given, answer, logprobs = list(ids), [], []
    for _ in range(tokens):
        scores = torch.log_softmax(model(torch.tensor([given])).logits[0, -1].float(), -1)
        best = int(scores.argmax())
        answer.append(best)
        logprobs.append(float(scores[best]))
        given.append(best)
    return answer, logprobs


def write_adapter(directory: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """Files in PEFT's layout with these tensors, named by layer and `A` or `B`."""
    directory.mkdir(parents=True, exist_ok=True)
    named = {
        f"base_model.model.{layer}.lora_{side}.weight": tensor
        for (layer, side), tensor in ((key.rsplit(":", 1), tensor) for key, tensor in tensors.items())
    }
    save_file(named, directory / "adapter_model.safetensors")
    values = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], **config}
    (directory / "adapter_config.json").write_text(json.dumps(values))
    return directory
