"""The journal: one whole line per outcome, whatever happens to the process that writes it."""

import json
from pathlib import Path

import pytest

from model.errors import DataError
from tests.training.synthesis.parts import GOOD
from training.synthesis import journal as module
from training.synthesis.dialog import Draft
from training.synthesis.filters import Rejection
from training.synthesis.journal import Journal, Outcome

KEPT = Outcome(job="a", draft=Draft(dialog=GOOD, templates=("list",)), rejections=(Rejection("malformed", "x"),))
DROPPED = Outcome(job="b", draft=None, rejections=(Rejection("refusal", "I cannot"),))


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "new/journal.jsonl") as journal:
        journal.append(KEPT)
        journal.append(DROPPED)
    with Journal(tmp_path / "new/journal.jsonl") as journal:
        assert journal.outcomes == {"a": KEPT, "b": DROPPED}


@pytest.mark.parametrize("kept", range(0, 120, 7))
def test_a_torn_line_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(KEPT)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    with Journal(path) as journal:
        assert journal.outcomes == {"a": KEPT}
        journal.append(DROPPED)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["job"] for line in lines] == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        "{}",
        '{"job": 3, "dialog": null, "templates": [], "rejections": []}',
        '{"job": "a", "dialog": {"turns": 3}, "templates": [], "rejections": []}',
        '{"job": "a", "dialog": null, "templates": [], "rejections": [{"reason": "whim", "detail": ""}]}',
    ],
)
def test_lines_of_others_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(KEPT)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"journal\.jsonl:2: not a line that a run of"), Journal(path):
        pass
    path.unlink()
    with Journal(path) as journal:
        assert journal.outcomes == {}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path), pytest.raises(DataError, match="another run is writing here"), Journal(path):
        pass
    with Journal(path):
        pass


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    write = module.os.write
    with Journal(path) as journal:
        journal.append(KEPT)
        monkeypatch.setattr(module.os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(DataError, match=r"No space left on device.*run again to continue"):
            journal.append(DROPPED)
        monkeypatch.undo()
    with Journal(path) as journal:
        assert journal.outcomes == {"a": KEPT}


def test_half_characters_are_written_in_some_way(tmp_path: Path) -> None:
    odd = Outcome(job="c", draft=None, rejections=(Rejection("refusal", "\ud83d"),))
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(odd)
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert set(journal.outcomes) == {"c"}
