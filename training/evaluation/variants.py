"""The controls of a multimodal score: the same questions without their media, and with another sample's."""

import random
from collections.abc import Sequence
from dataclasses import replace

from model.prompt import MEDIA_PARTS
from training.data import MediaRef, Sample

RIGHT, NONE, SHUFFLED = "right", "none", "shuffled"
# Rotations of the media that are tried before one with a sample's own medium in its own place is accepted.
ROTATIONS = 8


def variants(samples: Sequence[Sample], *, seed: int = 0) -> dict[str, list[Sample]]:
    """The samples of one task under each control that exists for them.

    Without any medium there is nothing to take away, with a single one nothing to exchange it for. Samples of text
    alone among others are the same under every control.
    """
    found = {RIGHT: list(samples)}
    pools = _pools(samples, range(len(samples)))
    if pools:
        found[NONE] = [without_media(sample) for sample in samples]
    if any(len(pool) > 1 for pool in pools.values()):
        found[SHUFFLED] = shuffle_media(samples, seed=seed)
    return found


def without_media(sample: Sample) -> Sample:
    """The same question, its media left out."""
    messages = []
    for message in sample.messages:
        content = message["content"]
        if isinstance(content, list):
            # A turn that was media alone becomes an empty text, which every chat template takes.
            content = [part for part in content if part["type"] not in MEDIA_PARTS] or ""
        messages.append({**message, "content": content})
    return replace(sample, messages=messages, media=[])


def shuffle_media(samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """The same questions, each with the media of another sample of the task.

    Media are rotated among the places of their modality, so every medium is used exactly once. Where several samples
    share a medium, the first rotation that gives none its own back is taken, or the one of a few that does so least.
    """
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)
    pools = _pools(samples, order)
    rotated = {name: _rotate(pool) for name, pool in pools.items()}
    taken = dict.fromkeys(pools, 0)
    shuffled: dict[int, Sample] = {}
    for index in order:
        media = []
        for reference in samples[index].media:
            media.append(rotated[reference.modality][taken[reference.modality]])
            taken[reference.modality] += 1
        shuffled[index] = replace(samples[index], media=media)
    return [shuffled[index] for index in range(len(samples))]


def _pools(samples: Sequence[Sample], order: Sequence[int]) -> dict[str, list[MediaRef]]:
    """Per modality, the media of the samples in this order."""
    pools: dict[str, list[MediaRef]] = {}
    for index in order:
        for reference in samples[index].media:
            pools.setdefault(reference.modality, []).append(reference)
    return pools


def _rotate(pool: list[MediaRef]) -> list[MediaRef]:
    """Half the pool first: that keeps a sample clear of its own media, which stand next to each other."""
    half, size = len(pool) // 2, len(pool)
    shifts = [(half + step) % size for step in range(min(ROTATIONS, size))]
    rotations = (pool[shift:] + pool[:shift] for shift in shifts if shift or size == 1)
    return min(rotations, key=lambda rotation: sum(a == b for a, b in zip(pool, rotation, strict=True)))
