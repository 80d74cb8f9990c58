"""One stage of a recipe: what it trains, on which data, how, and how it is watched. Unknown keys are errors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.errors import ConfigurationError
from model.fields import check_choice, check_range, from_mapping
from training.problems import OnProblem

# Tokens per batch where a recipe says nothing.
BATCH_TOKENS = 2048
SCHEDULES = ("cosine", "linear", "constant")
# Metric of the validation -> whether more is better.
METRICS = {"loss": False, "perplexity": False, "accuracy": True}


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """One corpus source and how often its samples are seen."""

    source: str
    """Folder of the corpus that holds `train.jsonl`; `concepts`: synthetic features of the encoders' classes."""
    passes: float | None = None
    """Times each sample is seen per epoch; a fraction takes a random part. 1 where neither it nor `weight` is given."""
    weight: float | None = None
    """Instead of `passes`, for all sources of a stage: this one's share of `samples`, relative to the others'."""
    tasks: list[str] = field(default_factory=list)
    """Only its samples of these tasks, such as `scenes/colour`; by default all."""
    turns: int = 1
    """Up to this many samples are asked one after the other in one conversation."""
    on_problem: OnProblem = "error"
    """Unusable and too long samples: `error` ends the run before it trains, `skip` counts them and goes on."""

    def __post_init__(self) -> None:
        if self.passes is not None:
            if self.weight is not None:
                raise ConfigurationError("weight: goes instead of passes; give one of them")
            check_range("passes", self.passes, 0.001, 1000)
        if self.weight is not None and not 0 < self.weight <= 1e9:
            raise ConfigurationError(
                f"weight: {self.weight!r} takes no sample of {self.source}; give a number above 0, or remove the source"
            )
        check_range("turns", self.turns, 1, 64)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How a stage is watched while it trains, on samples that it does not train on."""

    share: float = 0.0
    """Share of each source that is held out of the training; samples that show the same medium stay together."""
    sources: list[str] = field(default_factory=list)
    """Folders of the corpus whose `valid.jsonl` is used, instead of or beside `share`."""
    steps: int = 200
    """Steps between two validations; there is always one at the end."""
    samples: int = 256
    """Most samples of a validation, a random part of those there are."""
    metric: str = "loss"
    """What is best and what stops early: `loss` (nats per answer token), `perplexity`, or `accuracy` (share of answers
    that greedy decoding gives word for word)."""
    patience: int | None = None
    """Validations without a better value after which the stage ends; null: it runs to its end."""
    keep_best: bool = True
    """End the stage with the weights of its best validation instead of its last step's."""

    def __post_init__(self) -> None:
        check_range("share", self.share, 0.0, 0.5)
        check_range("steps", self.steps, 1, 1 << 32)
        check_range("samples", self.samples, 1, 1 << 20)
        check_choice("metric", self.metric, METRICS)
        if self.patience is not None:
            check_range("patience", self.patience, 1, 1000)
        if not self.share and not self.sources:
            raise ConfigurationError("share, sources: a validation needs one of them")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training stage."""

    name: str
    """Also the name of its folder in the output."""
    learning_rates: dict[str, float]
    """What is trained, and its peak learning rate; the first key that matches a parameter counts, what none matches
    stays frozen. A key is `projectors`, `adapter`, `llm` or `encoders`, one modality such as `projectors.image`, or a
    pattern of parameter names such as `projectors.*.second.*`. A rate of 0 freezes."""
    data: list[Mixture]
    """The mixture."""
    samples: int | None = None
    """With weights: samples per epoch; by default as many as the sources hold together."""
    epochs: int = 1
    """Times the data is seen, in another order each time."""
    steps: int | None = None
    """Instead of `epochs`: optimizer steps, over as many epochs as they take."""
    max_length: int = 128
    """Longest conversation in tokens; for a longer sample see `data.on_problem`."""
    batch_tokens: int | None = None
    """Tokens per batch and device, padding included; 2048 where neither it nor `batch_rows` is given."""
    batch_rows: int | None = None
    """Instead of `batch_tokens`: conversations per batch and device."""
    accumulation: int = 1
    """Batches per optimizer step."""
    schedule: str = "cosine"
    """Of the learning rates after the warm-up: `cosine` or `linear` to zero, or `constant`."""
    warmup: float = 0.03
    """Share of the steps with a rising learning rate."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """AdamW's decay of the mean of the gradients and of their squares (Loshchilov & Hutter 2019, algorithm 2)."""
    weight_decay: float = 0.0
    """AdamW's."""
    max_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    noise: bool | dict[str, float] = True
    """Whether concepts are disturbed that have `noise`, see `training.noise`; or, by task, another `noise` of its group
    than its own in this stage."""
    concepts: list[str] = field(default_factory=list)
    """Of projectors of named concepts, only the groups of these tasks are trained (`concepts/image` is that of the
    encoder's own classes), but for what they say of media they have nothing to say about; all other groups stay as they
    are, see `training.groups`. By default all are trained."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: about a third more work for a fraction of the memory."""
    validation: Validation | None = None
    """None: nothing is held out."""
    save_steps: int = 200
    """Steps between two saved ones, from which `--resume` goes on."""
    keep: int = 2
    """Saved steps that are kept, beside the best one."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigurationError(f"name: {self.name!r} names a folder; use letters, digits, '-', '_' and '.'")
        for pattern, rate in self.learning_rates.items():
            check_range(f"learning_rates.{pattern}", rate, 0.0, 10.0)
        if not self.data or not any(self.learning_rates.values()):
            raise ConfigurationError("data, learning_rates: a stage needs both")
        self._check_data()
        self._check_batch()
        check_choice("schedule", self.schedule, SCHEDULES)
        check_range("warmup", self.warmup, 0.0, 0.5)
        if len(self.betas) != 2:
            raise ConfigurationError(f"betas: expected two numbers, got {self.betas!r}")
        for beta in self.betas:
            check_range("betas", beta, 0.0, 0.9999)
        for task, share in self.disturbed.items():
            check_range(f"noise.{task}", share, 0.0, 1.0)
        check_range("weight_decay", self.weight_decay, 0.0, 1.0)
        if self.concepts and self.weight_decay:
            raise ConfigurationError("weight_decay: would change the groups that `concepts` leaves out as well")
        check_range("max_norm", self.max_norm, 1e-6, 1e6)
        check_range("save_steps", self.save_steps, 1, 1 << 32)
        check_range("keep", self.keep, 1, 1000)

    def _check_data(self) -> None:
        sources = [mixture.source for mixture in self.data]
        if len(set(sources)) != len(sources):
            raise ConfigurationError(f"data: a source stands there twice: {', '.join(sources)}; use passes or weight")
        weights = [mixture.weight is not None for mixture in self.data]
        if any(weights) and not all(weights):
            name = sources[weights.index(False)]
            raise ConfigurationError(f"data: {name} has no weight, others have; give every source one, or none")
        if self.samples is not None:
            if not any(weights):
                raise ConfigurationError("samples: goes with weights; without them, passes say how much is seen")
            check_range("samples", self.samples, 1, 1 << 40)
        check_range("epochs", self.epochs, 1, 10_000)
        if self.steps is not None:
            check_range("steps", self.steps, 1, 1 << 32)
            if self.epochs != 1:
                raise ConfigurationError("steps: goes instead of epochs; give one of them")

    def _check_batch(self) -> None:
        check_range("max_length", self.max_length, 16, 1 << 20)
        if self.batch_rows is not None:
            if self.batch_tokens is not None:
                raise ConfigurationError("batch_rows: goes instead of batch_tokens; give one of them")
            check_range("batch_rows", self.batch_rows, 1, 1 << 16)
        elif self.batch_tokens is not None:
            check_range("batch_tokens", self.batch_tokens, self.max_length, 1 << 24)
        check_range("accumulation", self.accumulation, 1, 1 << 16)

    @property
    def disturbed(self) -> dict[str, float]:
        """By task, the noise of its group where this stage has its own."""
        return self.noise if isinstance(self.noise, dict) else {}

    def rows(self, length: int) -> int:
        """Conversations of `length` tokens in one batch."""
        return self.batch_rows or max(1, (self.batch_tokens or max(BATCH_TOKENS, self.max_length)) // length)


def parse_stage(values: Any, where: str) -> Stage:
    """Check a decoded stage.

    Raises:
        ConfigurationError: by key.
    """
    if isinstance(values, Mapping):
        values = dict(values)
        if isinstance(values.get("data"), list):
            entries = enumerate(values["data"])
            values["data"] = [from_mapping(Mixture, v, where=f"{where}.data[{i}]") for i, v in entries]
        if values.get("validation") is not None:
            values["validation"] = from_mapping(Validation, values["validation"], where=f"{where}.validation")
    return from_mapping(Stage, values, where=where)
