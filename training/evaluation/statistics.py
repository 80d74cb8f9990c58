"""Estimates with 95 % intervals: Wilson for proportions, bootstrap for everything else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 2000
# Resamples drawn at a time: what bounds the memory, 8 bytes for each of them and each sample.
BATCH = 100
SEED = 0

Values = npt.NDArray[np.float64]
Statistic = Callable[..., Any]


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


def proportion(count: int, total: int) -> Estimate:
    """`count / total` with the Wilson score interval (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(count / total, float(found.low), float(found.high))


def bootstrap(samples: Sequence[Values], statistic: Statistic = np.mean, *, paired: bool = False) -> Estimate:
    """A statistic of one or several samples with the percentile bootstrap's interval (Efron 1979).

    Args:
        samples: arrays `[n]`, drawn from independently, or together where `paired`.
        statistic: of as many arrays, along `axis`.
        paired: the k-th value of every sample belongs to the same question.

    The draws are the same every time. A sample of a single value has no spread: its interval is the value itself.
    """
    from scipy.stats import bootstrap as scipy_bootstrap

    value = float(statistic(*samples, axis=-1))
    if any(len(sample) < 2 for sample in samples):
        return Estimate(value, value, value)
    found = scipy_bootstrap(
        samples,
        statistic,
        paired=paired,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of at least one value."""
    return bootstrap([np.asarray(values, float)])


def perplexity(surprises: Sequence[float], tokens: Sequence[int]) -> Estimate:
    """Perplexity, exp of the mean surprise per token, over samples of different lengths that are resampled whole.

    Args:
        surprises: per sample, the sum over its tokens of -log p, nats.
        tokens: how many those are, at least one.
    """

    def ratio(surprise: Values, count: Values, axis: int = -1) -> Any:
        return np.exp(surprise.sum(axis=axis) / count.sum(axis=axis))

    return bootstrap([np.asarray(surprises, float), np.asarray(tokens, float)], ratio, paired=True)


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of `second - first` over the same questions: a paired bootstrap."""
    return mean((np.asarray(second, float) - np.asarray(first, float)).tolist())
