"""A run that is killed or told to end at any step goes on as if nothing had happened: the same losses and weights."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.training.parts import recipe_values, write_recipe
from training.recipe import read_recipe
from training.run import run
from training.saved import saved_steps
from training.signals import Interrupted, SaveAndStop, Stop, stop_on_signals

pytestmark = pytest.mark.usefixtures("own_cache")
ROOT = Path(__file__).parents[2]
STEPS, EVERY = 30, 5
# Longest wait for a process to import, encode and begin, seconds; an idle machine needs a few.
WAIT = 200
# Slows the steps down, so that a signal falls between two of them, and trains.
PROGRAM = """
import sys, time
from training.trainer import QuartetTrainer
step = QuartetTrainer.training_step
def slow(self, *args, **kwargs):
    time.sleep(0.02)
    return step(self, *args, **kwargs)
QuartetTrainer.training_step = slow
from training.run import run
run.__kwdefaults__["logging_steps"] = 3
from model.cli import main
main(["train", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def recipe(parts: Path) -> Path:
    """A LoRA adapter with dropout, accumulation and validation: everything that has a state."""
    values = recipe_values(parts)
    values["adapter"] = {"rank": 4, "dropout": 0.2}
    values["stages"][0] |= {
        "learning_rates": {"projectors": 0.003, "adapter": 0.01},
        "steps": STEPS,
        "accumulation": 2,
        "save_steps": EVERY,
        "validation": {"share": 0.2, "steps": 12, "samples": 8},
    }
    return write_recipe(parts / "interrupted.yaml", values)


@pytest.fixture(scope="module")
def whole(recipe: Path, corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        run(read_recipe(recipe), corpus, output, logging_steps=3)
    return output


def start(recipe: Path, corpus: Path, output: Path) -> subprocess.Popen[bytes]:
    arguments = [str(recipe), "--corpus", str(corpus), "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )


def wait_for(process: subprocess.Popen[bytes], output: Path, steps: int) -> None:
    """Until so many steps are saved."""
    deadline = time.monotonic() + WAIT
    while len(saved_steps(output / "stage-align")) < steps:
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)


def result(output: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Everything in the log but the times, and all trained weights."""
    times = ("seconds", "samples_per_second", "tokens_per_second")
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    checkpoint = output / "checkpoint"
    state = load_file(checkpoint / "projectors.safetensors")
    state |= load_file(checkpoint / "adapter" / "adapter_model.safetensors")
    return [{k: v for k, v in entry.items() if k not in times} for entry in log], state


def assert_same(first: Path, second: Path) -> None:
    (log, state), (other_log, other_state) = result(first), result(second)
    assert log == other_log
    assert state.keys() == other_state.keys()
    assert all(bool((tensor == other_state[name]).all()) for name, tensor in state.items())


def test_a_killed_run_ends_as_if_it_had_not_been(recipe: Path, corpus: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = start(recipe, corpus, output)
    wait_for(process, output, 1)
    # Anywhere, also while a step is being saved.
    time.sleep(random.random() * 0.5)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    if process.stderr:
        process.stderr.close()
    assert not (output / "checkpoint").exists()
    run(read_recipe(recipe), corpus, output, resume=True, logging_steps=3)
    assert_same(output, whole)


def test_a_run_that_is_told_to_end_saves_its_step(recipe: Path, corpus: Path, whole: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    settings = yaml.safe_load(recipe.read_text())
    settings["stages"][0]["save_steps"] = 1000
    quiet = write_recipe(recipe.parent / "quiet.yaml", settings)
    process = start(quiet, corpus, output)
    deadline = time.monotonic() + WAIT
    # TensorBoard's file is opened at the moment the first step begins.
    while not list((output / "tensorboard" / "align").glob("*")):
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    process.terminate()
    _, error = process.communicate(timeout=WAIT)
    assert process.returncode == 143, error.decode()
    assert "SIGTERM: the step is saved; continue with --resume" in error.decode()
    assert b"Traceback" not in error
    (step,) = saved_steps(output / "stage-align")
    assert 0 < int(step.name.removeprefix("checkpoint-")) < STEPS
    run(read_recipe(quiet), corpus, output, resume=True, logging_steps=3)
    assert_same(output, whole)


def test_before_there_is_anything_to_save_the_first_signal_ends_the_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(), pytest.raises(Interrupted) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.status == 143
    assert not caught.value.saved
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_at_once() -> None:
    stop = Stop()
    stop.training = True
    stop.receive(signal.SIGINT, None)
    assert stop.number == signal.SIGINT
    with pytest.raises(Interrupted) as caught:
        stop.receive(signal.SIGINT, None)
    assert caught.value.status == 130
    with pytest.raises(Interrupted, match="SIGINT"):
        stop.check()


def test_every_entry_of_an_interrupted_log_is_that_of_the_whole(
    recipe: Path, corpus: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within what an entry is the mean of, at its end, at a validation, and before the last step."""
    output = tmp_path / "run"
    for step in (7, 9, 24, 29):
        with monkeypatch.context() as patch:
            patch.setattr(SaveAndStop, "on_step_end", signalled(step))
            with pytest.raises(Interrupted, match="SIGTERM"):
                run(read_recipe(recipe), corpus, output, resume=True, logging_steps=3)
        assert saved_steps(output / "stage-align")[-1].name == f"checkpoint-{step}"
    run(read_recipe(recipe), corpus, output, resume=True, logging_steps=3)
    assert_same(output, whole)


def signalled(step: int) -> Callable[..., None]:
    """A signal comes during this step."""
    original = SaveAndStop.on_step_end

    def on_step_end(self: SaveAndStop, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == step:
            self.stop.receive(signal.SIGTERM, None)
        original(self, args, state, control, **rest)

    return on_step_end
