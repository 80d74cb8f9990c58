"""One trial: a setting with one seed is trained and evaluated, and what it scored is written down.

<output>/
  corpora/<hash>/<source>/train.jsonl    samples of one share and seed, shared by trials
  corpora/test-<hash>/<source>/...       what all of them are asked
  runs/<identity>/
    setting.json                         recipe and samples
    log.txt                              what training and evaluation print
    train/                               the run; removed once there is a result, unless it is to be kept
    result.json or error.json            the end: written last, in one go
"""

import hashlib
import json
import math
import os
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from model.errors import DataError, QuartetError
from training.ablation.subset import Subset

SETTING, RESULT, ERROR, LOG = "setting.json", "result.json", "error.json", "log.txt"


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """Accuracies of one task, 0..1; None where a task has no such control."""

    samples: int
    right: float
    none: float | None
    shuffled: float | None
    ceiling: float | None
    """Of a linear probe on the same features, fitted on the samples that the trial was trained on."""
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one trial cost and scored."""

    tasks: dict[str, TaskScore]
    perplexity: float
    """Of the reference answers, over all tasks."""
    shuffled_perplexity: float | None
    """The same with another sample's medium; None where a task has no such control."""
    samples: int
    """Different training samples."""
    training_tokens: int
    """Seen while training, repetitions counted and padding not."""
    tokens_per_medium: dict[str, int]
    """By modality."""
    seconds: float
    """From reading the samples to the last score."""

    @property
    def told(self) -> float | None:
        """What the medium tells, nats per token: how much less surprising the answers are than with another's."""
        if self.shuffled_perplexity is None:
            return None
        return math.log(self.shuffled_perplexity) - math.log(self.perplexity)

    def mean(self, control: str) -> float | None:
        """Mean over the tasks of `right`, `none`, `shuffled`, `ceiling` or `chance`; None where one has none."""
        values = [getattr(task, control) for task in self.tasks.values()]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Result":
        """From what `asdict` gave."""
        return cls(**{**values, "tasks": {name: TaskScore(**task) for name, task in values["tasks"].items()}})


@dataclass(frozen=True)
class Trial:
    """A trial's folder, and what is to be done there."""

    folder: Path

    @classmethod
    def make(
        cls, output: Path, identity: str, recipe: Mapping[str, Any], recipe_folder: str, subset: Subset, corpus: Path
    ) -> "Trial":
        """Describe a trial in its folder, where it is not yet."""
        folder = output / "runs" / identity
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "recipe": recipe,
            "recipe_folder": recipe_folder,
            "subset": subset.values(),
            "corpus": str(corpus.resolve()),
        }
        write_json(folder / SETTING, values)
        return cls(folder)

    @cached_property
    def values(self) -> dict[str, Any]:
        """What `make` wrote."""
        values: dict[str, Any] = json.loads((self.folder / SETTING).read_text(encoding="utf-8"))
        return values

    @property
    def subset(self) -> Subset:
        """Its samples."""
        return Subset(**self.values["subset"])

    @property
    def result(self) -> Result | None:
        """None as long as it has not ended well."""
        values = _json(self.folder / RESULT)
        return None if values is None else Result.read(values)

    @property
    def error(self) -> dict[str, Any] | None:
        """`error` in one line and `traceback`; None unless it has failed."""
        return _json(self.folder / ERROR)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do, for better or worse."""
        return (self.folder / RESULT).is_file() or (self.folder / ERROR).is_file()

    def fail(self, error: str, trace: str = "") -> None:
        """Record why it failed."""
        write_json(self.folder / ERROR, {"error": error, "traceback": trace})

    def forget_error(self) -> None:
        """Let it be tried again."""
        (self.folder / ERROR).unlink(missing_ok=True)

    def carry_out(self, *, keep: bool) -> None:
        """Train, evaluate and record the result, or the error; a trial that was killed goes on where it was.

        Args:
            keep: leave the checkpoint in `train/checkpoint`.
        """
        try:
            result = self._score()
        except Exception as error:
            # Whatever it is, it is this trial's, and the others are to go on.
            shown = str(error) if isinstance(error, QuartetError) else f"{type(error).__name__}: {error}"
            self.fail(shown, traceback.format_exc())
            return
        write_json(self.folder / RESULT, asdict(result))
        if not keep:
            shutil.rmtree(self.folder / "train", ignore_errors=True)

    def _score(self) -> Result:
        # Here, so that who only reads results need not wait for torch.
        import torch

        from model.checkpoint import Checkpoint
        from training.evaluation import Evaluation, evaluate_checkpoint
        from training.recipe import parse_recipe
        from training.run import run

        started = time.perf_counter()
        corpus, output, subset = Path(self.values["corpus"]), self.folder.parents[1], self.subset
        train, test = _training_folder(output, subset, corpus), _test_folder(output, subset, corpus)
        recipe = parse_recipe(self.values["recipe"], where="recipe", folder=Path(self.values["recipe_folder"]))
        samples = subset.write_training(corpus, train)
        subset.write_test(corpus, test)
        # Every step is logged, so that the tokens of the last one are.
        run(recipe, train, self.folder / "train", resume=True, logging_steps=1)
        checkpoint = Checkpoint.open(self.folder / "train" / "checkpoint")
        scores = self.folder / "evaluation"
        evaluation = Evaluation(corpus=test, output=scores, probes=train)
        evaluate_checkpoint(checkpoint.directory, evaluation, generate=False, dtype=getattr(torch, recipe.dtype))
        perplexities = _perplexities(scores / "metrics.json")
        tasks = {}
        for score in json.loads((scores / "scores.json").read_text(encoding="utf-8")):
            tasks[score["task"]] = TaskScore(**{field.name: score[field.name] for field in fields(TaskScore)})
        return Result(
            tasks=tasks,
            perplexity=perplexities["right"],
            shuffled_perplexity=perplexities.get("shuffled"),
            samples=samples,
            training_tokens=_tokens(self.folder / "train" / "log.jsonl"),
            tokens_per_medium={name: _count(values) for name, values in (checkpoint.config.modalities or {}).items()},
            seconds=time.perf_counter() - started,
        )


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _training_folder(output: Path, subset: Subset, corpus: Path) -> Path:
    values = subset.values() | {"test": None, "corpus": str(corpus)}
    return output / "corpora" / _hash(values)


def _test_folder(output: Path, subset: Subset, corpus: Path) -> Path:
    values = [subset.sources, subset.tasks, subset.test, str(corpus)]
    return output / "corpora" / f"test-{_hash(values)}"


def _perplexities(path: Path) -> dict[str, float]:
    """Over all tasks, by control."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    variants = next(row for row in rows if row["scope"] == "all")["variants"]
    return {name: float(metrics["perplexity"]["value"]) for name, metrics in variants.items()}


def _tokens(path: Path) -> int:
    """Training tokens of all stages."""
    stages: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        stages[entry["stage"]] = max(stages.get(entry["stage"], 0), int(entry.get("tokens", 0)))
    if not all(stages.values()):
        raise DataError(f"{path}: does not tell how many tokens were seen")
    return sum(stages.values())


def _count(values: Mapping[str, Any]) -> int:
    """Soft tokens per medium of a modality of a checkpoint's configuration."""
    from model.encoders import encoder_config
    from model.projectors import projector_config

    return projector_config(values["projector"]).count(encoder_config(values["encoder"]).length)


def write_json(path: Path, values: Any) -> None:
    """Write a file in one go: whoever finds it finds all of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
