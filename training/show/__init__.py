"""Samples on one HTML page, to look at and to listen to.

The page is one file without scripts: pictures and sounds are inside it, made smaller where they are large, up to a
size that browsers still open. All text of samples is escaped, and the page forbids itself to load anything.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.errors import DataError
from model.prompt import MEDIA_PARTS
from training.data import Sample, iter_samples
from training.problems import ProblemLog
from training.show.embed import Embedded, embed

# Size of all media on a page, bytes; their base64 is a third longer.
PAGE_BYTES = 32 << 20


@dataclass
class Shown:
    """What a page shows."""

    samples: list[Sample]
    total: int
    """Samples that it was chosen from."""
    problems: ProblemLog
    tasks: Counter[str] = field(default_factory=Counter)
    """Task -> samples it was chosen from."""


def choose(
    files: Sequence[Path],
    *,
    number: int = 20,
    seed: int = 0,
    ids: Iterable[str] = (),
    tasks: Iterable[str] = (),
    root: Path | None = None,
) -> Shown:
    """Pick samples in one pass: those with given ids, or a random few.

    Args:
        files: files of samples; unusable lines are left out and counted.
        number: how many to pick at random; each sample has the same chance.
        seed: of the choice.
        ids: show exactly these.
        tasks: choose only among these.
        root: if given, media must lie inside this folder.

    Raises:
        DataError: a file that cannot be read, an id that is not there, or nothing to choose from.
    """
    wanted, allowed, generator = set(ids), set(tasks), random.Random(seed)
    shown = Shown([], 0, ProblemLog())
    order: list[int] = []
    for path in files:
        for sample in iter_samples(path, on_problem="skip", problems=shown.problems, root=root):
            if (wanted and sample.id not in wanted) or (allowed and sample.task not in allowed):
                continue
            shown.tasks[sample.task] += 1
            # Reservoir sampling: the n-th sample takes one of the places with the chance number / n.
            if wanted or shown.total < number:
                shown.samples.append(sample)
                order.append(shown.total)
            elif (place := generator.randint(0, shown.total)) < number:
                shown.samples[place] = sample
                order[place] = shown.total
            shown.total += 1
    missing = wanted - {sample.id for sample in shown.samples}
    if missing:
        raise DataError(f"no sample has the id {min(missing)!r}" + f" and {len(missing) - 1} more" * (len(missing) > 1))
    if not shown.samples:
        raise DataError(f"{files[0]}: nothing to show" + f" of task {min(allowed)!r}" * bool(allowed))
    shown.samples = [sample for _, sample in sorted(zip(order, shown.samples, strict=True), key=lambda pair: pair[0])]
    return shown


def page(shown: Shown, title: str, *, limit: int = PAGE_BYTES) -> str:
    """The HTML page.

    Args:
        shown: what to show.
        title: its heading.
        limit: bytes of media on the page; those beyond are named but not embedded.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    left = limit
    samples = []
    for sample in shown.samples:
        media: list[Embedded] = []
        for reference in sample.media:
            embedded = embed(reference, left)
            left -= embedded.bytes
            media.append(embedded)
        samples.append({"sample": sample, "turns": _turns(sample, media), "meta": _meta(sample)})
    return environment.get_template("page.html.jinja").render(title=title, shown=shown, samples=samples)


def _turns(sample: Sample, media: Sequence[Embedded]) -> list[dict[str, Any]]:
    """Role and parts of each turn; a part is a text or an embedded medium."""
    waiting = iter(media)
    turns = []
    for message in sample.messages:
        content = message["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        shown = [{"medium": next(waiting)} if part["type"] in MEDIA_PARTS else {"text": part["text"]} for part in parts]
        turns.append({"role": message["role"], "parts": shown})
    return turns


def _meta(sample: Sample) -> list[tuple[str, str]]:
    return [(str(key), str(value)) for key, value in sample.meta.items()]
