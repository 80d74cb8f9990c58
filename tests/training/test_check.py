"""Checking samples: what is counted, what is found, and what the command says."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.cli import main
from model.errors import DataError
from tests.support.tiny import picture_bytes, sound_bytes
from tests.training.parts import audio, image, recipe_values, sample, text, write_json_lines, write_recipe
from training.check import check, sample_files
from training.check.report import Spread, table
from training.check.tokens import Measure
from training.problems import Kind
from training.recipe import read_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source `mine` with two pictures, one of them twice, a sound, and what is none of them."""
    media = tmp_path / "mine/media"
    media.mkdir(parents=True)
    (media / "a.png").write_bytes(picture_bytes(1))
    (media / "same.png").write_bytes(picture_bytes(1))
    (media / "b.png").write_bytes(picture_bytes(2))
    (media / "c.wav").write_bytes(sound_bytes(3, 0.5))
    (media / "bad.png").write_bytes(picture_bytes(4)[:60])
    return tmp_path / "mine"


def ask(name: str, *media: Any, question: str = "What?", answer: str = "red", **meta: str) -> dict[str, Any]:
    return sample(name, ([*media, text(question)], answer), **meta)


A, B, C, SAME, BAD = (
    image("media/a.png"),
    image("media/b.png"),
    audio("media/c.wav"),
    image("media/same.png"),
    image("media/bad.png"),
)


def test_what_is_counted(folder: Path) -> None:
    two_turns = sample("2", ([A, C], "one"), ("And now?", "three"))
    path = write_json_lines(folder / "train.jsonl", [ask("1", A), two_turns, ask("3", SAME, B)])
    report = check([path])
    (source,) = report.sources
    assert not report.failed
    assert (source.name, source.lines, source.samples, source.turns) == ("mine/train", 3, 3, 4)
    assert (source.questions.show(), source.answers.show()) == ("0-4-8", "3-4-5")
    pictures, sounds = source.media["image"], source.media["audio"]
    assert (pictures.used, pictures.files, pictures.same_content, pictures.unreadable) == (4, 3, 1, 0)
    assert (pictures.width.show(), pictures.height.show()) == ("48-48-48", "40-40-40")
    assert (sounds.used, sounds.files, sounds.seconds.total) == (1, 1, 0.5)


def test_every_problem_is_named_with_its_line(folder: Path) -> None:
    lines: list[Any] = [
        ask("1", A),
        ask("1", B),
        ask("2", BAD),
        ask("3", image("media/none.png"), image("media/no.png")),
        ask("4", answer=" "),
        sample("5", ("x", "y"), ("z", [A])),  # type: ignore[arg-type]
        ask("6", SAME),
        {**ask("7"), "messages": [{"role": "robot", "content": "x"}]},
        ask("8", image("../outside.png")),
        {**ask("9"), "extra": 1},
        ask("10", image("/etc/hostname")),
    ]
    path = write_json_lines(folder / "train.jsonl", lines)
    path.write_text(path.read_text() + "{\n")
    (folder.parent / "outside.png").write_bytes(picture_bytes(5))
    report = check([path], root=folder)
    assert report.failed
    found = [(problem.where.removeprefix(f"{path}:"), str(problem.kind)) for problem in report.problems.first]
    # Problems of media come when they are decoded.
    assert sorted(found, key=lambda pair: int(pair[0])) == [
        ("2", "duplicate id"),
        ("3", "unreadable medium"),
        ("4", "missing medium"),
        ("4", "missing medium"),
        ("5", "empty answer"),
        ("6", "medium in the wrong turn"),
        ("7", "duplicate sample"),
        ("8", "odd role"),
        ("9", "medium outside its folder"),
        ("10", "not a sample"),
        ("11", "medium outside its folder"),
        ("12", "not readable"),
    ]
    (source,) = report.sources
    assert (source.lines, source.samples, source.problems["missing medium"]) == (12, 4, 2)
    assert source.media["image"].unreadable == 1


def test_problems_between_files(folder: Path) -> None:
    other = write_json_lines(folder.parent / "other/train.jsonl", [ask("1", image("../mine/media/a.png"))])
    train = write_json_lines(folder / "train.jsonl", [ask("1", B)])
    test = write_json_lines(folder / "test.jsonl", [ask("2", SAME, question="Which?"), ask("3", C)])
    report = check([test, train, other])
    assert [(source.name, dict(source.problems)) for source in report.sources] == [
        ("mine/test", {Kind.LEAK: 1}),
        ("mine/train", {}),
        ("other/train", {Kind.DUPLICATE_ID: 1}),
    ]
    messages = [str(problem) for problem in report.problems.first]
    assert f"{other}:1: id '1' appears twice, first in {train}:1" in messages
    assert f"{test}:1: {folder}/media/same.png: training shows the same, {folder}/media/a.png" in messages
    assert report.sources[0].media["image"].same_content == 1


def test_the_same_conversation_with_other_places_is_another(folder: Path) -> None:
    swapped = [sample(str(n), ([text("x"), *m], "y")) for n, m in enumerate([[A, B], [B, A], [A, C]])]
    after = sample("3", ([A, text("x"), B], "y"))
    path = write_json_lines(folder / "train.jsonl", [*swapped, after])
    assert not check([path]).failed


def test_a_file_without_samples_fails(folder: Path) -> None:
    path = folder / "train.jsonl"
    path.write_text("\n\n")
    assert [str(problem) for problem in check([path]).problems.first] == [f"{path}: holds no samples"]
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        check([folder / "none.jsonl"])


@pytest.mark.usefixtures("own_cache")
def test_lengths_under_a_recipe(parts: Path, corpus: Path, tmp_path: Path) -> None:
    """Tokens are the trainer's own, sounds must fit the encoder, and limits are those of the stages."""
    values = recipe_values(parts)
    measure = Measure.of(read_recipe(write_recipe(parts / "check.yaml", values)))
    files = sample_files([corpus])
    report = check(files, measure=measure)
    assert not report.failed
    scenes = next(source for source in report.sources if source.name == "scenes/train")
    first = json.loads((corpus / "scenes/train.jsonl").read_text().splitlines()[0])
    assert scenes.limit == 128
    assert scenes.tokens.count == scenes.samples
    length = len(measure.prompt.encode_training(first["messages"]).input_ids)
    assert scenes.tokens.least <= length <= scenes.tokens.most
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes/long.wav").write_bytes(sound_bytes(1, 10.5))
    path = write_json_lines(
        tmp_path / "scenes/train.jsonl",
        [ask("1", question="word " * 200), ask("2", audio("long.wav")), sample("3", ("x", "y"), ("z", "w"))],
    )
    lines = [str(problem) for problem in check([path], measure=measure).problems.first]
    assert len(lines) == 2
    assert lines[0].startswith(f"{path}:1: ")
    assert lines[0].endswith("tokens, at most 128 fit; shorten it")
    assert f"{path}:2: {tmp_path}/scenes/long.wav: the sound lasts 10.5 s, this model hears at most 10 s" in lines[1]


def test_memory_does_not_grow_with_the_media(tmp_path: Path) -> None:
    """Decoded, the sounds of this file take 38 MB."""
    for index in range(60):
        soundfile.write(tmp_path / f"{index}.wav", np.full(160_000, index / 200), 16_000)
    path = write_json_lines(tmp_path / "train.jsonl", [ask(str(n), audio(f"{n}.wav")) for n in range(60)])
    tracemalloc.start()
    try:
        report = check([path])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.sources[0].media["audio"].seconds.total == 600
    assert peak < 16 << 20


def test_which_files_are_meant(tmp_path: Path) -> None:
    for name in ("a/train.jsonl", "a/test.jsonl", "a/train.skipped.jsonl", "b/train.jsonl", "b/metadata.jsonl"):
        write_json_lines(tmp_path / name, [])
    names = [path.relative_to(tmp_path).as_posix() for path in sample_files([tmp_path])]
    assert names == ["a/test.jsonl", "a/train.jsonl", "b/train.jsonl"]
    assert len(sample_files([tmp_path / "a", tmp_path / "a/train.jsonl"])) == 2
    (tmp_path / "c").mkdir()
    for path, message in ((tmp_path / "c", r"holds no \.jsonl files"), (tmp_path / "d", "does not exist")):
        with pytest.raises(DataError, match=message):
            sample_files([path])


def test_spread_and_tables() -> None:
    spread = Spread()
    assert (spread.show(), spread.mean) == ("-", 0)
    for value in (-1.0, 4.0, 0.0):
        spread.add(value)
    assert (spread.show(1), spread.mean) == ("-1.0-1.0-4.0", 1)
    assert list(table(["name", "n"], [["long name", 7], ["b", 12]])) == [
        "name        n",
        "long name   7",
        "b          12",
    ]
    assert list(table(["name", "n"], [])) == ["name  n"]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_json_lines(folder / "train.jsonl", [ask("1", A, C), ask("2", B)])
    code, out, _ = call(capsys, good)
    assert code == 0
    assert out.endswith("no problems\n")
    write_json_lines(folder / "train.jsonl", [ask("1", A), ask("2", A), ask("3", SAME), ask("4", BAD)])
    code, out, _ = call(capsys, folder, "--shown", 1)
    assert code == 1
    assert [line.split() for line in out.splitlines()[6:10]] == [
        ["source", "problem", "count"],
        ["mine/train", "duplicate", "sample", "2"],
        ["mine/train", "unreadable", "medium", "1"],
        [],
    ]
    assert out.splitlines()[10].startswith(f"{folder}/train.jsonl:2: the same conversation as {folder}/train.jsonl:1")
    assert out.splitlines()[11] == "... and 2 more; --shown 3 lists them all"
    code, out, _ = call(capsys, folder, "--allow", "duplicate sample", "--allow", "unreadable medium", "--json")
    values = json.loads(out)
    assert (code, values["failed"], values["problems"]["total"]) == (0, False, 3)
    assert values["problems"]["kinds"] == {"duplicate sample": 2, "unreadable medium": 1}
    assert values["sources"][0]["problems"] == values["problems"]["kinds"]
    assert values["sources"][0]["media"]["image"]["width"] == {
        "count": 2, "total": 96, "least": 48, "most": 48, "mean": 48,
    }  # fmt: skip
    code, _, err = call(capsys, folder, "--allow", "everything")
    assert code == 1
    assert "--allow 'everything': is not one of not readable, not a sample" in err
