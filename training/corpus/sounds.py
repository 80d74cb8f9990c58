"""Source ``sounds``: the sound effects that belong to Tux Paint's stamps: animals, instruments, tools.

Tasks: ``sounds/name`` (open set) and ``sounds/kind`` (closed set). Whole sounds are held out for the test, never just
other crops; sounds that several stamps share, under other file bytes too, are recognised by what they sound like.
Silent files are left out, and so are the names of sounds that stand for several things.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from pathlib import Path

import numpy as np

from training.corpus import clips, samples, tuxpaint
from training.corpus.phrases import question
from training.corpus.registry import Context, Job, Plan

KINDS = ("mammal", "bird", "insect", "instrument", "household item")
_SECONDS = 4.0
_VARIANTS = {"train": 10, "test": 6}


def plan(context: Context) -> Plan:
    """Plan the clips of all sounds; fetches the Debian package if the cache does not hold it."""
    package = tuxpaint.package(context.cache)
    groups: dict[str, list[tuxpaint.Stamp]] = defaultdict(list)
    skipped = {"silent or broken sounds": 0, "names of sounds that stand for several things": 0}
    for stamp in tuxpaint.collect(package.tree):
        if stamp.sound is None:
            continue
        digest = fingerprint(stamp.sound)
        if digest is None:
            skipped["silent or broken sounds"] += 1
        else:
            groups[digest].append(stamp)
    jobs: dict[str, Job] = {}
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    for number, members in enumerate(groups.values()):
        split = members[0].split
        names, kinds = {stamp.name for stamp in members}, {stamp.kind for stamp in members}
        skipped["names of sounds that stand for several things"] += len(names) > 1
        for variant in range(_VARIANTS[split]):
            rng = random.Random(samples.seed("sounds", context.seed, members[0].stem, variant))
            file = f"{split}-{number:03d}-{variant}.wav"
            arguments = {"path": str(members[0].sound), "seed": rng.getrandbits(63), "varied": variant > 0}
            jobs[file] = Job(render=render, arguments=arguments)
            stamp = members[0]
            wanted: list[tuple[str, str, str, str | None]] = []
            if len(names) == 1 and stamp.name:
                wanted.append(("name", "en", stamp.name, None))
                if stamp.malay and rng.random() < 0.5:
                    wanted.append(("name", "ms", stamp.malay, None))
            if len(kinds) == 1 and stamp.kind in KINDS:
                malay = rng.random() < 0.3
                answer = tuxpaint.KINDS[stamp.kind][0] if malay else stamp.kind
                wanted.append(("kind", "ms" if malay else "en", answer, stamp.kind))
            for task, language, words, label in wanted:
                message = samples.ask(rng, question(rng, f"sounds/{task}", language), samples.audio(f"media/{file}"))
                splits[split].append(
                    samples.sample(
                        [message, samples.answer(words)],
                        task=f"sounds/{task}",
                        language=language,
                        source="sounds",
                        licence=tuxpaint.LICENCE,
                        label=label,
                    )
                )
    return Plan(
        train=splits["train"],
        test=splits["test"],
        jobs=jobs,
        provenance={"licence": tuxpaint.LICENCE, "packages": [package.record()]},
        skipped={why: count for why, count in skipped.items() if count},
    )


def fingerprint(path: Path) -> str | None:
    """A digest of what a sound file sounds like (coarse loudness over time and its length); None if silent.

    Copies of one recording that were encoded twice have other bytes and nearly the same samples.
    """
    try:
        wave = clips.trim(clips.read(path.read_bytes()))
    except RuntimeError:  # libsndfile cannot read it
        return None
    if clips.rms(wave) < 1e-3:
        return None
    blocks = np.array_split(np.abs(wave), 24)
    shape = np.array([float(block.mean()) for block in blocks])
    coarse = np.round(shape / shape.max() * 12).astype(int)
    return hashlib.sha256(repr((round(len(wave) / clips.RATE, 1), coarse.tolist())).encode()).hexdigest()


def render(*, path: str, seed: int, varied: bool) -> bytes:
    """Up to 4 s of a sound at a usual loudness; if ``varied`` a random crop, tempo, noise and gain. Gives WAV bytes."""
    rng = np.random.default_rng(seed)
    wave = clips.trim(clips.read(Path(path).read_bytes()))
    most = int(_SECONDS * clips.RATE)
    start = int(rng.integers(0, len(wave) - most + 1)) if varied and len(wave) > most else 0
    wave = wave[start : start + most]
    if varied:
        keep = int(len(wave) * rng.uniform(0.7, 1.0))
        first = int(rng.integers(0, len(wave) - keep + 1))
        wave = clips.stretch(wave[first : first + keep], float(rng.uniform(0.94, 1.06)))
        wave = wave + clips.noise(rng, len(wave)) * np.float32(clips.rms(wave) / 10 ** (rng.uniform(18, 40) / 20))
    return clips.wav(clips.normalise(wave, float(rng.uniform(0.05, 0.12)) if varied else 0.08)[:most])
