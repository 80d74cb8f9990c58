"""Parts that a checkpoint carries itself, because their weights were trained: a language model, or encoders.

    llm/                            Hugging Face directory: configuration, tokenizer, weights
    encoders/<modality>.safetensors under the module's own names

The checkpoint's provenance names them as it names any part, by a `file:` source relative to the checkpoint and a
sha256, so everything that opens, loads, assembles or packs a checkpoint finds them. What they were trained from is in
`Provenance.training["base"]`.
"""

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.adapter import PARAMETER
from model.llm import load_llm_config
from model.sources import sha256_of
from model.tensor_file import write_tensors

LLM, ENCODERS = "llm", "encoders"
# PEFT keeps the weights of a layer with an adapter under this name.
BASE_LAYER = ".base_layer."
# Files of a language model's directory that hold weights; those of the trained one take their place.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.gguf")


def save_llm(llm: PreTrainedModel, base: Path, checkpoint: Path, dtype: torch.dtype) -> tuple[str, str]:
    """Write a trained language model into a checkpoint.

    Args:
        llm: its vocabulary may be padded and adapters may lie beside its weights; neither is written.
        base: the Hugging Face directory it was trained from; its tokenizer and other small files are copied.
        checkpoint: directory of the checkpoint.
        dtype: of what is written.

    Returns:
        Source and sha256 for the provenance.
    """
    folder = checkpoint / LLM
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns(*WEIGHTS, ".*"))
    rows, padded = load_llm_config(base).vocab_size, llm.config.vocab_size
    vocabulary = {id(layer.weight) for layer in (llm.get_input_embeddings(), llm.get_output_embeddings()) if layer}
    state: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in llm.state_dict(keep_vars=True).items():
        # A tied output layer is the embedding table once more.
        if PARAMETER in name or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        cut = tensor.detach()
        if id(tensor) in vocabulary or (name.endswith("lm_head.bias") and len(tensor) == padded):
            cut = cut[:rows]
        state[name.replace(BASE_LAYER, ".")] = cut.to("cpu", dtype if cut.is_floating_point() else None).contiguous()
    write_tensors(state, folder / "model.safetensors")
    return f"file:{LLM}", sha256_of(folder)


def save_encoder(module: nn.Module, modality: str, checkpoint: Path) -> tuple[str, str]:
    """Write a trained encoder into a checkpoint, float32.

    Returns:
        Source and sha256 for the provenance.
    """
    path = checkpoint / ENCODERS / f"{modality}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in module.state_dict().items()
    }
    write_tensors(state, path)
    return f"file:{ENCODERS}/{path.name}", sha256_of(path)
