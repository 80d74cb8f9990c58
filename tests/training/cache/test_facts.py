"""What is remembered about files holds exactly as long as they are not written to, and is never needed."""

import os
import sqlite3
from pathlib import Path

import pytest

from tests.training.cache.toys import exit_code, in_child
from training.cache import facts
from training.cache.facts import FileFacts, state


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "SETTLED_NS", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(b"content")
    return path


def test_a_fact_holds_until_the_file_changes(tmp_path: Path, file: Path) -> None:
    record = FileFacts(tmp_path / "cache")
    assert record.known([file]) == {}
    record.remember({file: (state(file), "abc")})
    assert FileFacts(tmp_path / "cache").known([file, tmp_path / "gone.png"]) == {file: "abc"}
    times = file.stat()
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert record.known([file]) == {}, "same size and time of modification"
    record.remember({file: (state(file), "def")})
    other = tmp_path / "b.png"
    other.write_bytes(b"CONTENT")
    other.replace(file)
    assert record.known([file]) == {}, "another file under the name"


def test_a_file_that_may_still_be_written_to_is_not_remembered(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "SETTLED_NS", 10**12)
    record = FileFacts(tmp_path)
    record.remember({file: (state(file), "abc")})
    assert record.known([file]) == {}


def test_names_need_not_be_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    path.write_bytes(b"x")
    record = FileFacts(tmp_path)
    record.remember({path: (state(path), "abc")})
    assert record.known([path]) == {path: "abc"}


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_record_is_begun_anew(tmp_path: Path, file: Path, damage: bytes) -> None:
    record = FileFacts(tmp_path)
    record.path.write_bytes(damage)
    assert record.known([file]) == {}
    record.remember({file: (state(file), "abc")})
    record.remember({file: (state(file), "abc")})
    assert record.known([file]) == {file: "abc"}


def test_a_locked_record_is_done_without(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = FileFacts(tmp_path)
    record.remember({file: (state(file), "abc")})
    monkeypatch.setattr(facts, "PATIENCE", 0.05)
    other = sqlite3.connect(record.path)
    other.execute("BEGIN EXCLUSIVE")
    assert record.known([file]) == {}
    record.remember({file: (state(file), "def")})
    assert record.forget_missing() == 0
    other.close()
    assert record.known([file]) == {file: "abc"}


def test_files_that_are_gone_are_forgotten(tmp_path: Path, file: Path) -> None:
    record = FileFacts(tmp_path)
    assert record.forget_missing() == 0
    gone = tmp_path / "gone.png"
    gone.write_bytes(b"x")
    record.remember({path: (state(path), "abc") for path in (file, gone)})
    gone.unlink()
    assert (record.forget_missing(), record.forget_missing()) == (1, 0)
    assert record.known([file, gone]) == {file: "abc"}


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.png" for index in range(12)]
    for path in files:
        path.write_bytes(b"x")

    def write(part: int) -> None:
        for path in files[part::4]:
            FileFacts(tmp_path).remember({path: (state(path), path.name)})

    children = [in_child(lambda part=part: write(part)) for part in range(4)]
    assert [exit_code(child) for child in children] == [0] * 4
    assert FileFacts(tmp_path).known(files) == {path: path.name for path in files}
