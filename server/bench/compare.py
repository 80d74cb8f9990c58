"""Ratios of one server to another, with confidence intervals from the blocks that belong together.

Blocks are drawn again with replacement, always both of a pair, and the ratio is computed anew from each draw (a paired
bootstrap). So what slowed both blocks of a pair does not widen the interval, and what differs from pair to pair does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from server.bench.load import Block
from server.bench.metrics import TIMES, times, whole

DRAWS = 2000
CONFIDENCE = 0.95
# Fewer pairs say nothing about how they vary.
MIN_PAIRS = 5
# Of one server: the amounts of each block.
Amounts = list[np.ndarray]
# Values of the drawn blocks -> the figure.
Figure = Callable[[Sequence[np.ndarray]], float]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One server's figure divided by the other's."""

    value: float
    low: float | None
    """Lower end of the interval; None where there are too few blocks for one."""
    high: float | None
    pairs: int
    """How many pairs of blocks it is from."""


def compare(ours: Sequence[Block], theirs: Sequence[Block], seed: int = 0) -> dict[str, Ratio]:
    """Ratios ours / theirs: medians of times, and throughputs. Figures that either side lacks are left out."""
    rng = np.random.default_rng(seed)
    found: dict[str, Ratio | None] = {}
    for name in TIMES:
        found[f"{name}_p50"] = _ratio(_times(ours, name), _times(theirs, name), _median, rng)
    for name in ("requests_per_second", "output_tokens_per_second"):
        found[name] = _ratio(_rates(ours, name), _rates(theirs, name), _rate, rng)
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def _times(blocks: Sequence[Block], name: str) -> Amounts:
    return [np.asarray([value for one in whole([block]) for value in times(one)[name]]) for block in blocks]


def _rates(blocks: Sequence[Block], name: str) -> Amounts:
    def amount(block: Block) -> float:
        good = whole([block])
        return len(good) if name == "requests_per_second" else sum(one.output_tokens for one in good)

    return [np.asarray([amount(block), block.seconds], dtype=float) for block in blocks]


def _median(values: Sequence[np.ndarray]) -> float:
    joined = np.concatenate(values) if values else np.zeros(0)
    return float(np.median(joined)) if len(joined) else float("nan")


def _rate(values: Sequence[np.ndarray]) -> float:
    amount, seconds = np.sum(values, axis=0)
    return float(amount / seconds) if seconds else float("nan")


def _ratio(ours: Amounts, theirs: Amounts, figure: Figure, rng: np.random.Generator) -> Ratio | None:
    pairs = len(ours)
    value = _divide(figure(ours), figure(theirs))
    if not np.isfinite(value):
        return None
    if pairs < MIN_PAIRS:
        return Ratio(value=value, low=None, high=None, pairs=pairs)
    drawn: list[float] = []
    for chosen in rng.integers(pairs, size=(DRAWS, pairs)):
        ratio = _divide(figure([ours[i] for i in chosen]), figure([theirs[i] for i in chosen]))
        if np.isfinite(ratio):
            drawn.append(ratio)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Ratio(value=value, low=float(low), high=float(high), pairs=pairs)


def _divide(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else float("nan")
