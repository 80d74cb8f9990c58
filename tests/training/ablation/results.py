"""Made-up results of trials, so that what is made of them can be checked by hand."""

from typing import Any

from training.ablation.summary import Outcome
from training.ablation.sweep import Sweep
from training.ablation.trial import Result, TaskScore


def result(scores: dict[str, float], *, samples: int = 100, tokens: int = 2000, per_medium: int = 4) -> Result:
    """One trial with these accuracies; the controls are the same in all."""
    return Result(
        tasks={
            name: TaskScore(samples=50, right=value, none=0.0, shuffled=0.1, ceiling=0.9, chance=0.2)
            for name, value in scores.items()
        },
        perplexity=2.0,
        # Told: the logarithm of 1 + score.
        shuffled_perplexity=2.0 * (1 + max(scores.values())),
        samples=samples,
        training_tokens=tokens,
        tokens_per_medium={"image": per_medium, "audio": per_medium},
        seconds=90.0,
    )


def outcomes(sweep: Sweep, results: dict[tuple[str, int], Result | str | None]) -> list[Outcome]:
    """The outcomes of a sweep by name of the setting and seed; a text is an error."""
    settings = {setting.name: setting for setting in sweep.settings()}
    found = []
    for (name, seed), value in results.items():
        error: dict[str, Any] | None = {"error": value} if isinstance(value, str) else None
        found.append(Outcome(settings[name], seed, value if isinstance(value, Result) else None, error))
    return found
