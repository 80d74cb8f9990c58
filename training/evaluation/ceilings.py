"""Ceilings: what a linear probe reads from the frozen features alone.

A closed-set task over one medium has a ceiling where its training samples are at hand: the accuracy on the test media
of a probe fitted on the training media. Every source's training file is read once, whatever the number of its tasks.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from training.data import MediaRef, Sample, iter_samples
from training.parts import train_file
from training.probe import fit_probe

Labelled = dict[str, list[tuple[MediaRef, str]]]
Pool = Callable[[str, Sequence[MediaRef]], Tensor]


def ceilings(tasks: Mapping[str, Sequence[Sample]], corpus: Path, pool: Pool) -> dict[str, float]:
    """Accuracy of a linear probe, by task; a task without a ceiling is left out.

    Args:
        tasks: the test samples of each task. `meta.probe` names the training task where it is another one.
        corpus: holds `<source>/train.jsonl`; a task's source is its name up to the first `/`.
        pool: media of one modality -> mean features `[n, dim]`.

    Raises:
        DataError: an unusable line of a training file, by file and number.
    """
    wanted = {task: _probe_task(samples) for task, samples in tasks.items() if _is_closed(samples)}
    train: Labelled = {}
    for source in sorted({name.split("/")[0] for name in wanted.values()}):
        path = train_file(corpus, source)
        if path.is_file():
            train |= _labelled(iter_samples(path), {name for name in wanted.values() if name.split("/")[0] == source})
    found = {}
    for task, probe in wanted.items():
        samples = tasks[task]
        modality = samples[0].media[0].modality
        # A medium that is asked about twice, in two languages for example, is one.
        pairs = list(dict.fromkeys(pair for pair in train.get(probe, []) if pair[0].modality == modality))
        if len({label for _, label in pairs}) > 1:
            fitted = fit_probe(pool(modality, [media for media, _ in pairs]), [label for _, label in pairs])
            features = pool(modality, [sample.media[0] for sample in samples])
            found[task] = fitted.accuracy(features, [str(sample.meta["label"]) for sample in samples])
    return found


def chance(samples: Iterable[Sample]) -> float | None:
    """Share of the most frequent label, None where no sample has one."""
    counts = Counter(str(sample.meta["label"]) for sample in samples if "label" in sample.meta)
    return max(counts.values()) / counts.total() if counts else None


def _is_closed(samples: Sequence[Sample]) -> bool:
    """Whether every sample has a label and one medium, all of one modality."""
    modalities = {sample.media[0].modality for sample in samples if len(sample.media) == 1}
    return len(modalities) == 1 and all("label" in s.meta and len(s.media) == 1 for s in samples)


def _probe_task(samples: Sequence[Sample]) -> str:
    return str(samples[0].meta.get("probe", samples[0].task))


def _labelled(samples: Iterable[Sample], tasks: set[str]) -> Labelled:
    """Media and labels of the samples of these tasks; only those are kept in memory."""
    found: Labelled = {}
    for sample in samples:
        if sample.task in tasks and "label" in sample.meta and len(sample.media) == 1:
            found.setdefault(sample.task, []).append((sample.media[0], str(sample.meta["label"])))
    return found
