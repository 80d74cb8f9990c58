"""The mean of several checkpoints: runs of one recipe that differ in seed or settings, as one model.

Runs that start from the same weights tend to end in one basin of the loss, and the mean of their weights errs less than
each of them, at the price of one (model soups: Wortsman et al., ICML 2022). What the runs trained is averaged:
projectors and adapter. Their frozen parts must be the same.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.adapter import ADAPTER
from model.adapter import CONFIG as ADAPTER_CONFIG
from model.adapter import WEIGHTS as ADAPTER_WEIGHTS
from model.checkpoint import PROJECTORS, Checkpoint, Part
from model.encoders import load_state
from model.errors import CheckpointError
from model.tensor_file import compare, write_tensors
from training.start import score_size

FILE = "file:"


def average(checkpoints: Sequence[Checkpoint], output: Path, *, command: str = "") -> Checkpoint:
    """Write the mean of checkpoints to another directory, in float16.

    Args:
        checkpoints: at least two, of the same parts and configuration.
        output: directory of the new checkpoint; made if missing.
        command: recorded in the new checkpoint, beside the records of the trainings.

    Raises:
        CheckpointError: fewer than two, one of other parts, configuration or adapter than the first, scores by hidden
            units, weights of a language model or an encoder that were trained, or one that lies in `output`.
    """
    if len(checkpoints) < 2:
        raise CheckpointError(f"a mean needs at least two checkpoints, got {len(checkpoints)}")
    first = checkpoints[0]
    for checkpoint in checkpoints:
        if output.resolve() == checkpoint.directory.resolve():
            raise CheckpointError(f"{output}: is one of the checkpoints; give another --output")
        check_same(checkpoint, first)
    projectors = first.config.build_projectors()
    files = [checkpoint.directory / PROJECTORS for checkpoint in checkpoints]
    projectors.load_state_dict(mean([checkpoint.projector_state() for checkpoint in checkpoints], files))
    output.mkdir(parents=True, exist_ok=True)
    if first.adapter is not None:
        (output / ADAPTER).mkdir(exist_ok=True)
        shutil.copyfile(first.adapter / ADAPTER_CONFIG, output / ADAPTER / ADAPTER_CONFIG)
        files = [checkpoint.directory / ADAPTER / ADAPTER_WEIGHTS for checkpoint in checkpoints]
        state = mean([load_state(path) for path in files], files)
        write_tensors({name: tensor.half() for name, tensor in state.items()}, output / ADAPTER / ADAPTER_WEIGHTS)
    record = {"command": command, "average": [checkpoint.provenance.training for checkpoint in checkpoints]}
    provenance = dataclasses.replace(first.provenance, training=record)
    return Checkpoint.save(output, first.config, projectors, provenance, dtype=torch.float16)


def mean(states: Sequence[Mapping[str, Tensor]], files: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of tensors of the same names and shapes, float32.

    Raises:
        CheckpointError: names the first tensor that differs, and the file that holds it.
    """
    for state, path in zip(states, files, strict=True):
        compare(state, states[0], str(path))
    return {name: torch.stack([state[name].float() for state in states]).mean(dim=0) for name in states[0]}


def check_same(checkpoint: Checkpoint, first: Checkpoint) -> None:
    """Refuse a checkpoint whose mean with the first would be no model.

    Raises:
        CheckpointError: says what differs.
    """
    parts, expected = checkpoint.provenance.parts, first.provenance.parts
    for name in sorted(set(parts) | set(expected)):
        if parts.get(name) != expected.get(name):
            raise CheckpointError(
                f"{checkpoint.directory}: {name} is {_name(parts.get(name))}, that of {first.directory} is "
                f"{_name(expected.get(name))}; only runs on the same frozen parts have a mean"
            )
        source = parts[name].source
        # A part that was trained, too, lies in the checkpoint itself.
        if source.startswith(FILE) and not Path(source.removeprefix(FILE)).is_absolute():
            raise CheckpointError(
                f"{checkpoint.directory}: {name} was trained ({source}); only projectors and adapters are averaged"
            )
    if checkpoint.config.to_dict() != first.config.to_dict():
        raise CheckpointError(
            f"{checkpoint.directory}: has another configuration than {first.directory}; compare their config.json"
        )
    for name in checkpoint.config.modality_specs:
        if score_size(checkpoint, name):
            raise CheckpointError(
                f"{checkpoint.directory}: projector of {name} scores by hidden units, and those of two fits have no "
                "mean; average what was trained by recipes that say no `refit`, and refit the mean"
            )
    if _adapter(checkpoint) != _adapter(first):
        raise CheckpointError(
            f"{checkpoint.directory}: has another adapter than {first.directory}; compare their {ADAPTER}/"
        )


def _name(part: Part | None) -> str:
    return "none" if part is None else f"{part.source} ({part.sha256[:12]})"


def _adapter(checkpoint: Checkpoint) -> Any:
    if checkpoint.adapter is None:
        return None
    return json.loads((checkpoint.adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
