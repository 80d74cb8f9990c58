"""Two evaluations of the same samples, compared pair by pair: that tells apart what two intervals do not."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import DataError
from training.evaluation.report import SHOWN, header, line
from training.evaluation.statistics import Estimate, difference

# Metric -> its value in a record's line, None where the record has none. Perplexity is compared as its logarithm.
VALUES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "exact": lambda r: float(r["exact"]),
    "normalised": lambda r: None if r["normalised"] is None else float(r["normalised"]),
    "meteor": lambda r: r["meteor"],
    "log perplexity": lambda r: r["surprise"] / r["tokens"] if r["tokens"] else None,
    "vqa": lambda r: r["score"] if r["metric"] == "vqa" else None,
    "mmmu": lambda r: r["score"] if r["metric"] == "mmmu" else None,
    "pope_accuracy": lambda r: r["score"] if r["metric"] == "pope" else None,
}
Key = tuple[str, str]


def compare(first: Path, second: Path, variant: str) -> str:
    """A Markdown table of `second - first` per task and over all, for every metric that both have.

    Args:
        first: records of one evaluation.
        second: records of another, over exactly the same samples.
        variant: the control.

    Raises:
        DataError: a file that holds no records, or other samples than the other one.
    """
    one, two = _read(first, variant), _read(second, variant)
    lonely = sorted(one.keys() ^ two.keys())
    if lonely:
        task, name = lonely[0]
        file = first if lonely[0] in one else second
        raise DataError(
            f"{len(lonely)} samples are in one of the files only, such as {name!r} of {task} in {file}; "
            "compare evaluations of the same corpus with the same --limit"
        )
    tasks = sorted({task for task, _ in one})
    lines = header(("task", "metric", "samples", "first", "second", "second - first", ""))
    for task in [*tasks, "all"]:
        keys = sorted(key for key in one if task in (key[0], "all"))
        for metric, value in VALUES.items():
            pairs = [(value(one[key]), value(two[key])) for key in keys]
            known = [(a, b) for a, b in pairs if a is not None and b is not None]
            if known:
                lines.append(_row(task, metric, known))
    return "\n".join(lines) + "\n"


def _row(task: str, metric: str, pairs: Sequence[tuple[float, float]]) -> str:
    heading, scale = SHOWN.get(metric, (metric, 1.0))
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    found = difference(first, second)
    means = (scale * sum(values) / len(values) for values in (first, second))
    clear = "" if found.low <= 0 <= found.high else "differs"
    return line([task, heading, str(len(pairs)), *(f"{value:.2f}" for value in means), _signed(found, scale), clear])


def _signed(value: Estimate, scale: float) -> str:
    return f"{scale * value.value:+.2f} [{scale * value.low:+.2f}, {scale * value.high:+.2f}]"


def _read(path: Path, variant: str) -> dict[Key, Mapping[str, Any]]:
    try:
        lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
        records = {(str(r["task"]), str(r["id"])): r for r in lines if r["variant"] == variant}
        for r in records.values():
            for value in VALUES.values():
                value(r)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no records of `quartet eval --records` ({type(error).__name__}: {error})") from None
    if not records:
        raise DataError(f"{path}: holds no records of the control {variant!r}")
    return records
