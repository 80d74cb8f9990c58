"""Two evaluations of the same samples."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import DataError
from training.evaluation.compare import compare


def write(path: Path, rights: list[bool], variant: str = "right", **extra: Any) -> Path:
    lines = []
    for index, right in enumerate(rights):
        values = {"task": "t", "id": str(index), "variant": variant, "exact": right, "normalised": right}
        values |= {"meteor": 0.5 * right, "surprise": 2.0, "tokens": 2, "metric": None, "score": None}
        lines.append(json.dumps(values | extra))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_difference_has_an_interval(tmp_path: Path) -> None:
    first = write(tmp_path / "first", [False] * 40)
    second = write(tmp_path / "second", [True] * 20 + [False] * 20, surprise=1.0)
    table = compare(first, second, "right")
    rows = {tuple(line.split(" | ")[:2]): line for line in table.splitlines()}
    assert "| 40 | 0.00 | 50.00 | +50.00 [+" in rows["| t", "exact"]
    assert rows["| t", "exact"].endswith("| differs |")
    assert "| 40 | 1.00 | 0.50 | -0.50 [-0.50, -0.50] | differs |" in rows["| all", "log perplexity"]
    same = compare(first, first, "right")
    assert "differs" not in same


def test_only_the_same_samples_are_compared(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", [True] * 3), write(tmp_path / "second", [True] * 4)
    with pytest.raises(DataError, match=r"1 samples are in one of the files only, such as '3' of t in .*second"):
        compare(first, second, "right")
    with pytest.raises(DataError, match="holds no records of the control 'none'"):
        compare(first, second, "none")


@pytest.mark.parametrize(
    "content", ["", "not json", "[1]", '{"task": "t"}', '{"task": "t", "id": "0", "variant": "right"}']
)
def test_other_files_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"scores\.json: .*records"):
        compare(path, path, "right")
    with pytest.raises(DataError, match="missing: cannot be read"):
        compare(tmp_path / "missing", path, "right")
