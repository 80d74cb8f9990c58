"""Validation while a stage trains: loss, perplexity and accuracy on samples that it does not train on.

All three come from one forward pass per batch, as `training.evaluation.forcing` explains; nothing is generated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from model.reference import QuartetForConditionalGeneration
from training.cache import Features
from training.dataset import Row
from training.evaluation.forcing import force
from training.stage import METRICS, Validation

PREFIX = "eval_"


@dataclass(frozen=True)
class Validator:
    """Scores a model on the same rows every time."""

    settings: Validation
    rows: Sequence[Row]
    caches: Mapping[str, Features]
    """Give the features of the rows' media."""
    controls: frozenset[int]
    """Ids of control tokens, which count for accuracy and not for loss."""

    @property
    def metric(self) -> str:
        """What is best, as it is called in the log."""
        return PREFIX + self.settings.metric

    @property
    def more_is_better(self) -> bool:
        """Of that metric."""
        return METRICS[self.settings.metric]

    def __call__(self, model: QuartetForConditionalGeneration) -> dict[str, float]:
        """`eval_loss` (nats per answer token), `eval_perplexity` and `eval_accuracy` (0..1).

        The model's random numbers and its mode are as before afterwards, so a run is the same with and without it.
        """
        modes = {module: module.training for module in model.modules()}
        model.eval()
        try:
            # Compiled code would be compiled again for each of the lengths.
            with torch.compiler.set_stance("force_eager"):
                answers = force(model, cast(Any, self.caches), self.rows, self.controls, "validation")
        finally:
            for module, mode in modes.items():
                module.training = mode
        flat = [answer for row in answers for answer in row]
        loss = sum(answer.surprise for answer in flat) / max(1, sum(answer.tokens for answer in flat))
        return {
            PREFIX + "loss": loss,
            # Beyond any meaning, and still a number.
            PREFIX + "perplexity": math.exp(min(loss, 700.0)),
            PREFIX + "accuracy": sum(answer.exact for answer in flat) / len(flat),
        }


def waited(log: Sequence[Mapping[str, Any]], best_step: int) -> int:
    """Validations in a log after the best one."""
    return sum(PREFIX + "loss" in entry and entry["step"] > best_step for entry in log)
