"""Which samples a stage sees: a mixture of sources by passes or by weights, and what is held out to validate on.

Everything is drawn with the recipe's seed, so a recipe and a corpus always give the same samples.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from model.errors import DataError
from training.data import Sample
from training.stage import Stage


def of_tasks(stage: Stage, samples: Mapping[str, list[Sample]]) -> dict[str, list[Sample]]:
    """By source, the samples of the tasks that a stage asks for."""
    return {
        mixture.source: [
            sample for sample in samples[mixture.source] if not mixture.tasks or sample.task in mixture.tasks
        ]
        for mixture in stage.data
    }


def mix(stage: Stage, samples: Mapping[str, list[Sample]], seed: int) -> dict[str, list[Sample]]:
    """The samples of one epoch of a stage by source, of those that are given.

    By passes, each sample is there as often as its source says, and a fraction takes a random part. By weights, each
    source has its share of `stage.samples`; its samples come round, all of them once before any a second time.

    Raises:
        DataError: a source without samples, or of which none is taken.
    """
    for mixture in stage.data:
        if not samples[mixture.source]:
            of = f" of {' or '.join(mixture.tasks)}" if mixture.tasks else ""
            raise DataError(f"stage {stage.name}: source {mixture.source} holds no sample{of} to train on")
    if stage.data[0].weight is not None:
        return _by_weight(stage, samples, seed)
    chosen: dict[str, list[Sample]] = {}
    for mixture in stage.data:
        members = samples[mixture.source]
        passes = 1.0 if mixture.passes is None else mixture.passes
        whole, rest = divmod(passes, 1.0)
        part = random.Random(seed).sample(members, round(rest * len(members)))
        chosen[mixture.source] = members * int(whole) + part
        if not chosen[mixture.source]:
            raise DataError(f"stage {stage.name}: passes {passes} takes none of {mixture.source}'s samples")
    return chosen


def _by_weight(stage: Stage, samples: Mapping[str, list[Sample]], seed: int) -> dict[str, list[Sample]]:
    total = stage.samples or sum(len(samples[mixture.source]) for mixture in stage.data)
    counts = apportion(total, {mixture.source: mixture.weight or 0.0 for mixture in stage.data})
    chosen: dict[str, list[Sample]] = {}
    for mixture in stage.data:
        members, count = samples[mixture.source], counts[mixture.source]
        if not count:
            raise DataError(
                f"stage {stage.name}: weight {mixture.weight} takes none of {mixture.source}'s samples out of {total}; "
                "raise it or samples"
            )
        whole, rest = divmod(count, len(members))
        chosen[mixture.source] = members * whole + random.Random(seed).sample(members, rest)
    return chosen


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Split `total` in proportion to weights, by largest remainders, so that the parts add up to it exactly."""
    whole = sum(map(Fraction, weights.values()))
    exact = {name: total * Fraction(weight) / whole for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split samples into those to train on and about `share` of them to validate on, both in their order.

    Samples that show or play the same medium stay on one side: an answer about a medium that was trained on proves
    little.
    """
    groups = _by_media(samples)
    sizes = Counter(groups)
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    held: set[int] = set()
    missing = share * len(samples)
    for group in order:
        # One that would overshoot by more than is missing, such as all that share one picture, stays.
        if 0 < sizes[group] <= 2 * missing:
            held.add(group)
            missing -= sizes[group]
    train = [sample for sample, group in zip(samples, groups, strict=True) if group not in held]
    return train, [sample for sample, group in zip(samples, groups, strict=True) if group in held]


def _by_media(samples: Sequence[Sample]) -> list[int]:
    """A group number for each sample; those that share a medium, directly or through others, have the same."""
    parent = list(range(len(samples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    owner: dict[object, int] = {}
    for index, sample in enumerate(samples):
        for medium in sample.media:
            parent[root(index)] = root(owner.setdefault(medium, index))
    return [root(index) for index in range(len(samples))]
