"""Source ``stamps``: Tux Paint's stamps (drawings and cut-out photographs) on soft backgrounds.

Tasks: ``stamps/name`` (open set, English and Malay captions) and ``stamps/kind`` (closed set, by folder). One stamp
in five is held out: the test shows only pictures of things never seen in training, some under names that were.
"""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
from PIL import Image

from training.corpus import pictures, samples, tuxpaint
from training.corpus.phrases import question
from training.corpus.registry import Context, Job, Plan

_VARIANTS = {"train": 4, "test": 2}  # pictures made of one stamp
_SVG_WIDTH = 320


def plan(context: Context) -> Plan:
    """Plan the pictures of all stamps; fetches the Debian package if the cache does not hold it."""
    package = tuxpaint.package(context.cache)
    stamps = tuxpaint.collect(package.tree)
    svg = _cairosvg_works()
    skipped = {"stamps without a short caption": 0, "stamps drawn as SVG (pip install cairosvg adds them)": 0}
    jobs: dict[str, Job] = {}
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    for number, stamp in enumerate(stamps):
        if stamp.picture is None or (stamp.name is None and stamp.kind is None):
            skipped["stamps without a short caption"] += 1
            continue
        if stamp.picture.suffix == ".svg" and not svg:
            skipped["stamps drawn as SVG (pip install cairosvg adds them)"] += 1
            continue
        for variant in range(_VARIANTS[stamp.split]):
            rng = random.Random(samples.seed("stamps", context.seed, stamp.stem, variant))
            name = f"{stamp.split}-{number:04d}-{variant}.png"
            arguments = {"path": str(stamp.picture), "split": stamp.split, "seed": rng.getrandbits(63)}
            jobs[name] = Job(render=render, arguments=arguments)
            splits[stamp.split] += _samples(rng, stamp, f"media/{name}")
    return Plan(
        train=splits["train"],
        test=splits["test"],
        jobs=jobs,
        provenance={"licence": tuxpaint.LICENCE, "packages": [package.record()]},
        skipped={why: count for why, count in skipped.items() if count},
    )


def _samples(rng: random.Random, stamp: tuxpaint.Stamp, url: str) -> list[samples.Sample]:
    wanted: list[tuple[str, str, str, str | None]] = []
    if stamp.name:
        wanted.append(("name", "en", stamp.name, None))
    if stamp.malay and rng.random() < 0.5:
        wanted.append(("name", "ms", stamp.malay, None))
    if stamp.kind:
        drawn = "ms" if rng.random() < 0.3 else "en"
        # Few stamps are of a kind: trained on in both languages, tested in one.
        for language in samples.LANGUAGES if stamp.split == "train" else (drawn,):
            word = tuxpaint.KINDS[stamp.kind][0] if language == "ms" else stamp.kind
            wanted.append(("kind", language, word, stamp.kind))
    return [
        samples.sample(
            [samples.ask(rng, question(rng, task, language), samples.image(url)), samples.answer(words)],
            task=f"stamps/{task}",
            language=language,
            source="stamps",
            licence=tuxpaint.LICENCE,
            label=label,
        )
        for task, language, words, label in wanted
    ]


def render(*, path: str, split: str, seed: int) -> bytes:
    """Paste the stamp in file ``path`` on a background; gives PNG bytes."""
    return pictures.png(pictures.compose(open_stamp(Path(path)), np.random.default_rng(seed), split))


def open_stamp(path: Path) -> Image.Image:
    """A stamp as an RGBA picture; SVG is drawn 320 pixels wide by cairosvg."""
    if path.suffix != ".svg":
        return Image.open(path).convert("RGBA")
    import cairosvg

    drawn = cairosvg.svg2png(url=str(path), output_width=_SVG_WIDTH)
    return Image.open(io.BytesIO(drawn)).convert("RGBA")


def _cairosvg_works() -> bool:
    try:
        import cairosvg  # noqa: F401  # it raises OSError where the cairo library itself is missing
    except (ImportError, OSError):
        return False
    return True
