"""A run of two processes, over the processor: it takes the steps of one process with twice the accumulation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import Checkpoint
from tests.training.parts import recipe_values, write_recipe
from training.recipe import read_recipe
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "samples_per_second", "tokens_per_second")
# Seconds that two processes may take to start and train; an idle machine needs fifteen.
WAIT = 240


def recipe(parts: Path, accumulation: int) -> Path:
    """Six steps of projectors and adapter, with everything that data parallel treats apart."""
    values = recipe_values(parts)
    values["adapter"] = {"rank": 2, "scope": "media"}
    values["stages"][0] |= {"steps": 6, "accumulation": accumulation, "gradient_checkpointing": True}
    values["stages"][0]["learning_rates"]["adapter"] = 1e-3
    return write_recipe(parts / f"devices-{accumulation}.yaml", values)


def test_two_processes_step_as_one_with_twice_the_batches(parts: Path, corpus: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(read_recipe(recipe(parts, 4)), corpus, one)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += ["-m", "model.cli", "train", str(recipe(parts, 2)), "--corpus", str(corpus), "--output", str(two)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    logs = [[json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] for path in (one, two)]
    assert [entry["step"] for entry in logs[1]] == [6]
    for entries in zip(*logs, strict=True):
        for name in entries[0].keys() - set(TIMES) - {"stage"}:
            assert entries[1][name] == pytest.approx(entries[0][name], rel=1e-4), name
    weights = [load_file(path / "stage-align" / "checkpoint-6" / "trained.safetensors") for path in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)
    assert Checkpoint.open(two / "checkpoint").config.adapter_scope == "media"
