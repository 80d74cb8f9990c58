"""Tiny random checkpoints that are real in every other way: tokenizer, chat template, encoders, projectors, hashes.

`build_checkpoint` writes a language model directory, one safetensors file per encoder and a `Checkpoint` that refers to
them by `file:` sources with their sha256, so every test runs the code that serves the real model.
"""

import copy
import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from model.adapter import ALWAYS, AdapterConfig, add_adapter
from model.checkpoint import Checkpoint, Part, Provenance, build_config
from model.encoders import encoder_config
from model.llm import load_llm
from model.sources import sha256_of

VOCABULARY = 320
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CORPUS = (
    "What do you see in the first picture, and what do you hear in the second sound?",
    "Compare the two images. Which of them is red, and which one is blue?",
    "system user assistant: you are a helpful assistant that answers in one word.",
    "The cat sat on the mat; a dog barked 0 1 2 3 4 5 6 7 8 9 times.",
)

# Wide initial weights make answers differ clearly between prompts; at the usual 0.02 every logit is nearly the same.
_LLM = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    # Heads of 32: the smallest the engine's CPU attention knows.
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLMS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_LLM, tie_word_embeddings=True),
    "mistral": MistralConfig(**_LLM, tie_word_embeddings=False, sliding_window=None, head_dim=32),
    "qwen2": Qwen2Config(**_LLM, tie_word_embeddings=True),
}

_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
_IMAGEBIND = {"width": 32, "layers": 2, "heads": 2, "embedding": 32}
ENCODERS: dict[str, dict[str, Any]] = {
    "clip": {"family": "clip", "config": _VISION},
    "siglip": {"family": "siglip", "config": _VISION},
    "efficientnet": {"family": "efficientnet", "variant": "lite0"},
    # 500 positions: sounds of at most 10 s.
    "whisper": {"family": "whisper", "d_model": 32, "layers": 2, "heads": 2, "ffn_dim": 64, "max_positions": 500},
    "imagebind_image": {"family": "imagebind_image", **_IMAGEBIND},
    "imagebind_audio": {"family": "imagebind_audio", **_IMAGEBIND},
    # Sequences of 16 patches, and of 50 frames of at most 1 s.
    "siglip patches": {"family": "siglip", "config": _VISION, "features": "patches"},
    "whisper frames": {
        "family": "whisper",
        "d_model": 32,
        "layers": 2,
        "heads": 2,
        "ffn_dim": 64,
        "max_positions": 50,
        "features": "frames",
    },
}


def build_checkpoint(
    directory: Path,
    *,
    llm: str = "llama",
    image: str | None = "clip",
    audio: str | None = "whisper",
    tokens: int = 4,
    seed: int = 0,
    projector: Mapping[str, Any] | None = None,
    sequence_projectors: Mapping[str, Mapping[str, Any]] | None = None,
    adapter: AdapterConfig | None = None,
) -> Path:
    """Write a tiny checkpoint into `directory` and return the checkpoint's own folder, `directory/checkpoint`.

    Args:
        directory: also receives the frozen parts, `llm/` and `<modality>.safetensors`.
        llm: a key of `LLMS`.
        image: a key of `ENCODERS`, or None for a model that cannot see.
        audio: the same for hearing.
        tokens: soft tokens per medium.
        seed: of every random weight.
        projector: further fields of the projectors, such as `{"activation": "gelu"}`.
        sequence_projectors: by modality, a whole projector in the place of `mlp`, for encoders that do not pool.
        adapter: a LoRA adapter with random weights, large enough to change every answer.
    """
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        llm_path = build_llm(directory / "llm", llm)
        encoders = {name: ENCODERS[family] for name, family in (("image", image), ("audio", audio)) if family}
        mlp = {"type": "mlp", "tokens": tokens, **(projector or {})}
        modalities = {
            name: {"encoder": values, "projector": (sequence_projectors or {}).get(name, mlp)}
            for name, values in encoders.items()
        }
        parts = {name: write_encoder(directory / f"{name}.safetensors", values) for name, values in encoders.items()}
        config = build_config(llm_path, modalities, adapter.scope if adapter else ALWAYS)
        projectors = config.build_projectors()
        provenance = Provenance(llm=_part(llm_path), encoders=parts, training={"recipe": "random", "seed": seed})
        adapted = (random_adapter(llm_path, adapter), adapter) if adapter else None
        return Checkpoint.save(directory / "checkpoint", config, projectors, provenance, adapter=adapted).directory
    finally:
        torch.random.set_rng_state(generator_state)


def build_llm(directory: Path, llm: str = "llama") -> Path:
    """Write a random language model of kind `llm` with its tokenizer, in Hugging Face's layout."""
    # A copy in float32: a model that was made of these configurations may have left its data type in them.
    model = AutoModelForCausalLM.from_config(copy.deepcopy(LLMS[llm]), dtype=torch.float32)
    model.generation_config.do_sample = False
    model.save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return directory


def random_adapter(llm: Path, config: AdapterConfig) -> PreTrainedModel:
    """The language model with an adapter as if it had been trained: a new one changes nothing."""
    model = load_llm(llm, torch.float32)
    add_adapter(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 320 entries, trained here, with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )


def picture(seed: int = 0, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture of random coloured blocks, different for every seed."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


def picture_bytes(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (48, 40)) -> bytes:
    """`picture` as a file; PNG, so that decoding gives the same pixels back."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, kind)
    return buffer.getvalue()


def sound(seed: int = 0, seconds: float = 0.5, rate: int = 16_000) -> np.ndarray:
    """Float32 samples of a chord with noise, different for every seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * rng.uniform(100, 4000) * time) for _ in range(3))
    return (0.2 * tones + 0.02 * rng.standard_normal(len(time))).astype(np.float32)


def sound_bytes(seed: int = 0, seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """`sound` as a 16-bit WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound(seed, seconds, rate) * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def write_encoder(path: Path, values: Mapping[str, Any]) -> Part:
    """Write random weights of the encoder that `values` configures; the source is relative to a folder beside them."""
    module = encoder_config(values).build()
    for name, parameter in module.named_parameters():
        # Untrained towers barely tell one medium from another; larger weights do.
        if parameter.dim() > 1 and "position" not in name:
            nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
    # Under the names a public checkpoint of the family has; clones, because tied storages cannot be saved.
    state = {_public_name(name): tensor.detach().clone() for name, tensor in module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    return _part(path)


def _public_name(name: str) -> str:
    return name.removeprefix("tower.")


def _part(path: Path) -> Part:
    return Part(source=f"file:../{path.name}", sha256=sha256_of(path))
