"""The shipped recipes at their real sizes, without memory: parameter counts and names are those released."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
    WhisperConfig,
    WhisperModel,
)

from model.adapter import add_adapter
from model.encoders import encoder_config
from model.projectors import projector_config
from training.recipe import RECIPES, Recipe, read_recipe

# The language models' own configurations, as on the hub.
MISTRAL = MistralConfig()
TINYLLAMA = LlamaConfig(
    hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4
)
LLMS = {"s3": MISTRAL, "mmmmodal": TINYLLAMA, "mmmmodal-7b": MISTRAL}
WHISPER_SMALL = {"d_model": 768, "vocab_size": 51_865, "num_mel_bins": 80}
WHISPER_SMALL |= {f"{part}_layers": 12 for part in ("encoder", "decoder")}
WHISPER_SMALL |= {f"{part}_attention_heads": 12 for part in ("encoder", "decoder")}
WHISPER_SMALL |= {f"{part}_ffn_dim": 3072 for part in ("encoder", "decoder")}


@pytest.fixture(autouse=True)
def on_meta() -> Iterator[None]:
    """Modules have shapes and no memory."""
    with torch.device("meta"):
        yield


def read(name: str) -> Recipe:
    return read_recipe(Path(name))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def projector(recipe: Recipe, modality: str, hidden_size: int) -> nn.Module:
    part = recipe.modalities[modality]
    encoder = encoder_config(part.encoder)
    return projector_config(part.projector).build(dim=encoder.dim, length=encoder.length, hidden_size=hidden_size)


def adapted(name: str) -> PreTrainedModel:
    """The language model of a recipe with its adapter."""
    recipe = read(name)
    llm = AutoModelForCausalLM.from_config(LLMS[name])
    if recipe.adapter is not None:
        add_adapter(llm, recipe.adapter)
    return llm


def lora(llm: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter for name, parameter in llm.named_parameters() if ".lora_" in name}


def test_s3_projectors() -> None:
    """Released: `linear_projection_1` [4096, 1024] and `linear_projection_2` [16384, 4096], with biases, for each."""
    recipe = read("s3")
    for modality in ("image", "audio"):
        module = projector(recipe, modality, MISTRAL.hidden_size)
        assert {name: list(tensor.shape) for name, tensor in module.state_dict().items()} == {
            "first.weight": [4096, 1024],
            "first.bias": [4096],
            "second.weight": [16384, 4096],
            "second.bias": [16384],
        }
        assert count(module) == 71_323_648


def test_s3_adapter() -> None:
    """r=8 on q_proj and v_proj of 32 layers; the names are PEFT's."""
    llm = adapted("s3")
    tensors = lora(llm)
    assert sum(tensor.numel() for tensor in tensors.values()) == 3_407_872
    assert {re.sub(r"\.\d+\.", ".N.", name) for name in tensors} == {
        f"model.layers.N.self_attn.{target}.lora_{matrix}.default.weight"
        for target in ("q_proj", "v_proj")
        for matrix in "AB"
    }
    assert count(llm) - 3_407_872 == 7_241_732_096


@pytest.mark.parametrize(
    ("name", "image", "audio", "adapter"),
    [("mmmmodal", 5_771_264, 67_112_960, 0), ("mmmmodal-7b", 19_931_136, 142_614_528, 167_772_160)],
)
def test_mmmmodal_parts(name: str, image: int, audio: int, adapter: int) -> None:
    """Projectors as in `LlavaMultiModalProjector`; the memory in the recipe's comment counts with these numbers."""
    recipe, hidden = read(name), LLMS[name].hidden_size
    assert count(projector(recipe, "image", hidden)) == image
    assert count(projector(recipe, "audio", hidden)) == audio
    assert sum(tensor.numel() for tensor in lora(adapted(name)).values()) == adapter
    tokens = {
        modality: projector_config(part.projector).count(encoder_config(part.encoder).length)
        for modality, part in recipe.modalities.items()
    }
    assert tokens == {"image": 576, "audio": 487}


@pytest.mark.parametrize(("name", "gigabytes"), [("mmmmodal", 3.24), ("mmmmodal-7b", 15.7)])
def test_mmmmodal_as_large_as_on_the_hub(name: str, gigabytes: float) -> None:
    """The release holds SigLIP and Whisper whole, four more rows of vocabulary, and two bytes per parameter."""
    recipe, config = read(name), LLMS[name]
    vision = recipe.modalities["image"].encoder["config"]
    parts: list[nn.Module] = [
        AutoModelForCausalLM.from_config(type(config)(**{**config.to_dict(), "vocab_size": 32_004})),
        SiglipModel(SiglipConfig(vision_config=vision)),
        WhisperModel(WhisperConfig(**WHISPER_SMALL)),
        *(projector(recipe, modality, config.hidden_size) for modality in recipe.modalities),
    ]
    assert 2 * sum(map(count, parts)) / 1e9 == pytest.approx(gigabytes, rel=0.005)


def test_mmmmodal_encoders_take_the_published_files() -> None:
    """Every tensor that our encoders need is in SigLIP's and Whisper's own modules, by name and shape."""
    recipe = read("mmmmodal")
    published = {
        "image": SiglipVisionModel(encoder_config(recipe.modalities["image"].encoder).hf_config),  # type: ignore[attr-defined]
        "audio": WhisperModel(WhisperConfig(**WHISPER_SMALL)),
    }
    for modality, module in published.items():
        config = encoder_config(recipe.modalities[modality].encoder)
        given, wanted = config.convert(module.state_dict()), config.build().state_dict()
        assert {name: tensor.shape for name, tensor in given.items()} == {n: t.shape for n, t in wanted.items()}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_opens_with_its_command_and_its_memory(path: Path) -> None:
    comment = path.read_text().split("\nllm:")[0]
    assert f"#   quartet train {path.stem} --corpus " in comment
    assert re.search(r"# Needs .*\d+ Gi?B", comment)


def facts(name: str) -> dict[str, Any]:
    """Numbers of the comment's arithmetic, in 1e6 parameters."""
    comment = " ".join(line.lstrip("# ") for line in (RECIPES / f"{name}.yaml").read_text().splitlines())
    found = {part: re.search(rf"{part} ([\d.]+)e6 x 16 B = ([\d.]+)", comment) for part in ("projectors", "adapter")}
    return {part: (float(match[1]), float(match[2])) for part, match in found.items() if match}


@pytest.mark.parametrize("name", LLMS)
def test_the_comment_counts_right(name: str) -> None:
    recipe, hidden = read(name), LLMS[name].hidden_size
    sizes = {
        "projectors": sum(count(projector(recipe, modality, hidden)) for modality in recipe.modalities),
        "adapter": sum(tensor.numel() for tensor in lora(adapted(name)).values()),
    }
    written = facts(name)
    assert written.keys() == {part for part, size in sizes.items() if size}
    for part, (millions, gigabytes) in written.items():
        size = sizes[part]
        assert millions == pytest.approx(size / 1e6, abs=0.06)
        assert gigabytes == pytest.approx(16 * size / 1e9, abs=0.06)
