"""Trials for real, on the tiny recipe: resumed after a kill, not ended by one that fails, never done twice."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import ConfigurationError, DataError
from tests.training.parts import recipe_values, write_corpus, write_recipe
from training.ablation.runner import Options, Pool, Worker, ablate, plan
from training.ablation.sweep import Sweep, read_sweep
from training.ablation.trial import RESULT, Trial

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny corpus with test samples: those it trains on."""
    corpus = write_corpus(tmp_path_factory.mktemp("asked"), each=4)
    for path in corpus.glob("*/train.jsonl"):
        shutil.copy(path, path.with_name("test.jsonl"))
    return corpus


def write_sweep(folder: Path, parts: Path, **values: Any) -> Sweep:
    write_recipe(parts / "ablated.yaml", recipe_values(parts))
    path = folder / "tiny.yaml"
    defaults = {"recipe": str(parts / "ablated.yaml"), "test": 6, "changes": {"stages.*.batch_tokens": 256}}
    path.write_text(yaml.safe_dump({**defaults, **values}, sort_keys=False))
    return read_sweep(path)


AXES = {
    "rate": {
        "good": {},
        "none called so": {"stages.*.learning_rates": {"projectors.*.third.*": 0.1}},
        "half": {"share": 0.5},
    }
}


def test_a_sweep_is_continued_after_a_kill_and_outlives_a_failure(
    asked: Path, parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep, output, options = write_sweep(tmp_path, parts, axes=AXES), tmp_path / "out", Options()
    trials = plan([sweep], asked, output).trials
    first = next(iter(trials.values()))
    worker = Worker(options)
    assert worker.process.stdin is not None
    print(first.folder, file=worker.process.stdin, flush=True)
    while not (first.folder / "train" / "run.json").exists():
        assert worker.process.poll() is None
        time.sleep(0.01)
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.exit == "signal 9"
    worker.close()
    assert not first.done

    report = ablate([sweep], asked, output, options=options, command="quartet ablate tiny").read_text()
    good, bad, half = trials.values()
    assert good.result is not None
    assert half.result is not None
    assert bad.result is None
    assert "no parameter is called like 'projectors.*.third.*'" in str(bad.error)
    assert "* failed: rate none called so, seed 0: learning_rates: no parameter is called like" in report
    assert (good.result.samples, half.result.samples) == (24, 12)
    assert 0 < half.result.training_tokens < good.result.training_tokens
    assert good.result.tokens_per_medium == {"image": 2, "audio": 2}
    assert set(good.result.tasks) == {"scenes/colour", "tones/pitch", "dialogs/both"}
    assert good.result.tasks["scenes/colour"].ceiling == 1.0
    assert not (good.folder / "train").exists()
    said = capfd.readouterr().err
    assert "3 trials to do, 0 done before" in said
    assert "[3/3] tiny: rate half, seed 0" in said

    before = (good.folder / RESULT).stat().st_mtime_ns
    again = ablate([sweep], asked, output, options=options, command="quartet ablate tiny").read_text()
    assert again == report
    assert (good.folder / RESULT).stat().st_mtime_ns == before
    assert capfd.readouterr().err == "", "there was nothing to do"


def test_a_process_that_dies_costs_its_trial_only(
    asked: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write_sweep(tmp_path, parts, axes=AXES)
    planned = plan([sweep], asked, tmp_path / "out")
    last = list(planned.trials.values())[-1]

    class Mortal(Worker):
        """A worker without the libraries: it dies of the first trial and carries out the others."""

        def __init__(self, options: Options) -> None:
            self.alive = True

        def carry_out(self, trial: Trial) -> bool:
            self.alive = trial is last
            return self.alive and not trial.fail("of its own")  # type: ignore[func-returns-value]

        @property
        def exit(self) -> str:
            return "signal 9"

        def close(self) -> None:
            pass

    monkeypatch.setattr("training.ablation.runner.Worker", Mortal)
    said: list[str] = []
    Pool(planned, Options(jobs=2), said.append).run()
    errors = [(trial.error or {})["error"] for trial in planned.trials.values()]
    assert errors == ["its process ended (signal 9)"] * 2 + ["of its own"]
    assert len(said) == 4
    assert said[-1].startswith("[3/3]")
    assert said[-1].endswith("00:00 left")


def test_no_trial_is_begun_when_the_time_is_over(asked: Path, parts: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, parts)
    report = ablate([sweep], asked, tmp_path / "out", options=Options(minutes=0)).read_text()
    assert "* not run: seed 0 of all settings" in report


def test_one_seed_of_everything_comes_before_the_next(asked: Path, parts: Path, tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, parts, axes={"share": {"key": "share", "values": [0.5, 1.0]}}, seeds=[3, 5])
    planned = plan([sweep], asked, tmp_path / "out")
    assert list(planned.names.values()) == [
        "tiny: share 0.5, seed 3",
        "tiny: share 1.0, seed 3",
        "tiny: share 0.5, seed 5",
        "tiny: share 1.0, seed 5",
    ]
    with pytest.raises(ConfigurationError, match="share a name"):
        plan([sweep, sweep], asked, tmp_path / "out")
    with pytest.raises(DataError, match=r"dialogs/train\.jsonl does not exist"):
        plan([sweep], tmp_path, tmp_path / "out")
