"""Intervals against published numbers, and that they cover what they promise to."""

import math

import numpy as np
import pytest

from training.evaluation.statistics import Estimate, bootstrap, difference, mean, perplexity, proportion


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), table I, method 3: the Wilson score interval.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_newcombes(count: int, total: int, low: float, high: float) -> None:
    found = proportion(count, total)
    assert found.value == count / total
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_bootstrap_of_a_mean_is_close_to_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    found = mean(values.tolist())
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert mean(values.tolist()) == found, "the same every time"


def test_a_single_value_and_equal_values_have_no_spread() -> None:
    assert mean([0.7]) == Estimate(0.7, 0.7, 0.7)
    assert mean([1.0, 1.0, 1.0]) == Estimate(1.0, 1.0, 1.0)


def test_perplexity_weighs_tokens_not_samples() -> None:
    # Two tokens at p = 1/2 and eight at p = 1/8: the mean surprise is (2 ln 2 + 8 ln 8) / 10.
    found = perplexity([2 * math.log(2), 8 * math.log(8)], [2, 8])
    assert found.value == pytest.approx(math.exp((2 * math.log(2) + 8 * math.log(8)) / 10))
    assert found.low == pytest.approx(2)
    assert found.high == pytest.approx(8)


def test_pairs_tell_apart_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(0, 1, 200)
    second = first + rng.normal(0.05, 0.1, 200)
    apart = difference(first.tolist(), second.tolist())
    assert apart.low > 0
    one, two = mean(first.tolist()), mean(second.tolist())
    assert one.high > two.low


def test_several_samples_are_drawn_apart_or_together() -> None:
    x = np.random.default_rng(2).normal(0, 1, 100)

    def gap(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return (a - b).mean(axis=axis) if a.shape == b.shape else a.mean(axis=axis) - b.mean(axis=axis)

    together, apart = bootstrap([x, x], gap, paired=True), bootstrap([x, x], gap)
    assert together == Estimate(0.0, 0.0, 0.0)
    assert apart.high - apart.low > 0.3
