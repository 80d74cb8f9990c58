"""Shipped recipes at tiny size: the same file with small parts and other samples in it, trained for real."""

from pathlib import Path
from typing import Any

import torch
import yaml

from model.checkpoint import Checkpoint
from model.sources import sha256_of
from tests.support.tiny import ENCODERS, build_llm, write_encoder
from training.recipe import RECIPES, read_recipe
from training.run import run

# Language model of the recipe -> the tiny one of its kind.
LLMS = {"s3": "mistral", "mmmmodal": "llama"}
# What of an encoder's configuration is a size; everything else stays as the recipe has it.
SIZES = {"config", "d_model", "layers", "heads", "ffn_dim", "max_positions", "width", "embedding"}


def tiny_encoder(values: dict[str, Any]) -> dict[str, Any]:
    """The encoder of a recipe with the sizes of our tiny one of its family."""
    family = values["family"]
    name = f"{family} {values['features']}" if "features" in values else family
    sizes = {key: value for key, value in ENCODERS[name].items() if key in SIZES}
    return {**values, **sizes}


def shrink(name: str, parts: Path, sources: list[str]) -> Path:
    """Write the recipe `name` with tiny random parts, which are made in `parts`, over the corpus sources given.

    Projectors, adapter, stages and learning rates stay; `tokens`, which follow from the sizes, are left to be counted.
    """
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        llm = build_llm(parts / "llm", LLMS[name])
        values["llm"] = {"source": f"file:{llm}", "sha256": "record"}
        for modality, entry in values["modalities"].items():
            entry["encoder"] = tiny_encoder(entry["encoder"])
            weights = parts / f"{modality}.safetensors"
            write_encoder(weights, entry["encoder"])
            entry |= {"source": f"file:{weights}", "sha256": sha256_of(weights)}
            if entry["projector"]["type"] != "mlp":
                del entry["projector"]["tokens"]
    for stage in values["stages"]:
        stage["data"] = [{"source": source} for source in sources]
        stage |= {"max_length": 512, "batch_tokens": 2048}
    path = parts / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def train(name: str, folder: Path, corpus: Path, sources: list[str]) -> Checkpoint:
    """Train the recipe at tiny size, all its stages, on a corpus of `tests.training.parts.write_corpus`."""
    return run(read_recipe(shrink(name, folder, sources)), corpus, folder / "run")
