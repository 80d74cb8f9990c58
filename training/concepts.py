"""Named concepts of a recipe: where their scores come from, and synthetic features of an encoder's own classes.

A group of concepts is either the class head that came with the encoder or a linear probe on labelled training media.
`training.initialise` writes groups into a projector; synthetic features let it learn every name of a head, whether or
not the corpus shows it.
"""

import os
import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from model.errors import ConfigurationError, DataError
from model.projectors.mlp import NO_GATE
from model.tensor_file import write_tensors
from training.corpus.phrases import question
from training.data import FEATURES, FEATURES_SUFFIX, MediaRef, Sample
from training.dream import dream
from training.initialisation import CONCEPTS, Concepts, Initialisation, Refit
from training.initialise import ConceptGroup
from training.parts import Parts
from training.probe import Probe, fit_probe
from training.scorer import Scorer, fit_scorer

# The name of "none of these": media of other sources, which a group of concepts must stay silent about.
NOTHING = "(none of these)"
# Media that a group is to be silent about, for each that it names.
OTHERS = 0.5
# What is asked about a synthetic medium, by modality.
QUESTIONS = {"image": "name", "audio": "sounds/name"}


def concept_groups(parts: Parts, modality: str, dreams: Sequence[Sample] = ()) -> list[ConceptGroup]:
    """Named concepts of a modality, as its recipe asks for.

    Args:
        parts: with all training media in its feature caches.
        modality: one of the recipe's.
        dreams: synthetic media of the encoders' own classes, which the groups of labelled tasks are to be silent about.

    Raises:
        ConfigurationError: the encoder has no classes of its own, or not as many as there are names.
        DataError: no labelled media for a task.
    """
    count = len(parts.recipe.modalities[modality].initialisation.concepts)
    return [concept_group(parts, modality, index, dreams) for index in range(count)]


def concept_group(
    parts: Parts, modality: str, index: int, dreams: Sequence[Sample] = (), *, refit: bool = False
) -> ConceptGroup:
    """One of them; with `refit`, with the scores that it is to have after the last stage."""
    concepts = parts.recipe.modalities[modality].initialisation.concepts[index]
    where = f"modalities.{modality}.initialisation.concepts[{index}]"
    final = concepts.refit if refit else None
    sharpness = concepts.sharpness if final is None else final.sharpness
    if concepts.names is not None:
        own, weight, bias = own_classes(parts, modality, Path(concepts.names), where)
        return ConceptGroup(list(own), weight * sharpness, bias * sharpness, concepts.slot)
    if final is None:
        probe = fit_probe(*labelled(parts, modality, concepts, where, dreams))
        return ConceptGroup(_names(probe.classes), probe.weight * sharpness, probe.bias * sharpness, concepts.slot)
    features, labels = labelled(parts, modality, concepts, where, dreams, final)
    fitted: Probe | Scorer
    units = None
    if final.units:
        fitted = fit_scorer(features, labels, units=final.units, seed=parts.recipe.seed)
        units = fitted.units, fitted.offset
    else:
        fitted = fit_probe(features, labels)
    bias = fitted.bias + final.silence * torch.tensor([float(name == NOTHING) for name in fitted.classes])
    return ConceptGroup(_names(fitted.classes), fitted.weight * sharpness, bias * sharpness, concepts.slot, units)


def gates(initialisation: Initialisation, groups: Sequence[ConceptGroup]) -> list[int]:
    """By group, the number of the concept "nothing" of the group that it is behind, as `MlpConfig.gates` counts them.

    Empty where no group is behind another.

    Raises:
        DataError: a group that is to come first is never silent, for the corpus shows it nothing else.
    """
    starts = list(accumulate((len(group.names) for group in groups), initial=0))
    found = []
    for index in range(len(groups)):
        front = initialisation.front(index)
        if front is not None and None not in groups[front].names:
            raise DataError(
                f"concepts[{index}].behind: the corpus has no media that the group of "
                f"{initialisation.concepts[index].behind} could be silent about"
            )
        found.append(NO_GATE if front is None else starts[front] + groups[front].names.index(None))
    return [] if all(gate == NO_GATE for gate in found) else found


def concept_names(parts: Parts, modality: str, index: int, dreams: Sequence[Sample] = ()) -> list[str | None]:
    """The names of a group in the order of its scores, without fitting them.

    Raises:
        ConfigurationError, DataError: as `concept_groups`.
    """
    concepts = parts.recipe.modalities[modality].initialisation.concepts[index]
    where = f"modalities.{modality}.initialisation.concepts[{index}]"
    if concepts.names is not None:
        return list(own_classes(parts, modality, Path(concepts.names), where)[0])
    return _names(sorted(set(labelled(parts, modality, concepts, where, dreams)[1])))


def task_labels(parts: Parts, modality: str) -> dict[str, set[str]]:
    """By task, the labels of the training media of a modality; of the tasks that a group mixes."""
    concepts = parts.recipe.modalities[modality].initialisation.concepts
    found: dict[str, set[str]] = {task: set() for group in concepts if group.mixed for task in group.tasks}
    if not found:
        return found
    for sample in parts.single(modality):
        if "label" in sample.meta and sample.task in found:
            found[sample.task].add(str(sample.meta["label"]))
    return found


def _names(classes: Sequence[str]) -> list[str | None]:
    return [None if name == NOTHING else name for name in classes]


def own_classes(parts: Parts, modality: str, path: Path, where: str) -> tuple[list[str], Tensor, Tensor]:
    """Names, weight `[classes, dim]` and bias `[classes]` of the class head that came with an encoder.

    Raises:
        ConfigurationError: the encoder has none, or not as many classes as `path` has names.
    """
    head = parts.caches[modality].config.classifier(parts.weights[modality])
    if head is None:
        raise ConfigurationError(f"{where}.names: this encoder has no classes of its own; give tasks")
    (weight, bias), names = head, read_names(path)
    if len(names) != len(bias):
        raise ConfigurationError(f"{where}.names: {len(names)} names for the encoder's {len(bias)} classes")
    return names, weight, bias


def labelled(
    parts: Parts,
    modality: str,
    concepts: Concepts,
    where: str,
    dreams: Sequence[Sample] = (),
    final: Refit | None = None,
) -> tuple[Tensor, list[str]]:
    """Features `[n, dim]` and labels of the group's tasks and, if it may be silent, of media that are `NOTHING`.

    Of those there is one for every two labelled ones, or as many from each source as `final` says.

    Raises:
        DataError: no labelled media.
    """
    labels: dict[MediaRef, str] = {}
    # Photographs of the encoder's own classes are none of what a corpus labels, and the corpus has few photographs.
    silent = [reference for sample in dreams for reference in sample.media if reference.modality == modality]
    tasks = concepts.tasks
    sources = {task.split("/")[0] for task in tasks}
    for sample in parts.single(modality):
        if "label" not in sample.meta:
            continue
        if sample.task in tasks:
            labels[sample.media[0]] = str(sample.meta["label"])
        elif sample.task.split("/")[0] not in sources:
            # Media of another source show none of these; those of the same source may, unasked.
            silent.append(sample.media[0])
    if not labels:
        raise DataError(f"{where}.tasks: no sample of {', '.join(tasks)} has one {modality} and a label")
    pools = [silent]
    if final is not None and final.silent_about:
        known = {**parts.samples, CONCEPTS: list(dreams)}
        pools = [
            [sample.media[0] for sample in known[source] if [m.modality for m in sample.media] == [modality]]
            for source in final.silent_about
        ]
    share, generator = OTHERS if final is None else final.others, random.Random(parts.recipe.seed)
    apart: list[MediaRef] = []
    for pool in pools if concepts.silent else []:
        # In the corpus's own order: where its files lie must not decide which are drawn.
        rest = [reference for reference in dict.fromkeys(pool) if reference not in labels]
        apart += generator.sample(rest, min(len(rest), int(len(labels) * share)))
    labels |= dict.fromkeys(apart, NOTHING)
    return parts.caches[modality].stack(list(labels))[:, 0], list(labels.values())


def read_names(path: Path) -> list[str]:
    """Names of an encoder's classes, one per line in the order of its head; lines that start with # are comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def dreamed_samples(parts: Parts, output: Path) -> list[Sample]:
    """Synthetic features of the encoders' own classes, written to `output`, as samples that ask for the name.

    Raises:
        ConfigurationError: an encoder has no classes of its own, or not as many as there are names.
        DataError: no media to begin from.
    """
    samples: list[Sample] = []
    for modality, recipe in parts.recipe.modalities.items():
        for index, concepts in enumerate(recipe.initialisation.concepts):
            if concepts.per_class and concepts.names is not None:
                where = f"modalities.{modality}.initialisation.concepts[{index}]"
                head = own_classes(parts, modality, Path(concepts.names), where)
                path = (output / f"{CONCEPTS}-{modality}-{index}{FEATURES_SUFFIX}").resolve()
                samples += _dream(parts, modality, concepts.per_class, head, path)
    return samples


def _dream(
    parts: Parts, modality: str, per_class: int, head: tuple[list[str], Tensor, Tensor], path: Path
) -> list[Sample]:
    names, weight, bias = head
    seed, generator = parts.recipe.seed, random.Random(parts.recipe.seed)
    media = parts.media(modality)
    if not media:
        raise DataError(f"modalities.{modality}.initialisation: per_class needs any {modality} media to begin from")
    classes = torch.arange(len(names)).repeat(per_class)
    base = parts.caches[modality].stack([generator.choice(media) for _ in range(len(classes))])[:, 0]
    features = dream((weight, bias), base, classes, seed=seed)
    # In one go: another process of the same run writes the same, and may read it already.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    write_tensors({FEATURES: features.half()[:, None].contiguous()}, partial)
    partial.replace(path)
    samples = []
    for row, index in enumerate(classes.tolist()):
        medium = {"type": f"{modality}_url", f"{modality}_url": {"url": f"{path.name}#{row}"}}
        text = {"type": "text", "text": question(generator, QUESTIONS[modality], "en")}
        content = [medium, text] if generator.random() < 2 / 3 else [text, medium]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": names[index]}]
        samples.append(
            Sample(
                id=f"{path.stem}/{row:06d}",
                messages=messages,
                media=[MediaRef(modality, path, row)],
                meta={"task": f"{CONCEPTS}/{modality}", "language": "en"},
            )
        )
    return samples
