"""From a source to a file that training reads: places of media, policies, and what is left behind after a failure."""

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import datasets
import pytest

from model.cli import main
from model.errors import DataError
from model.media import decode_audio, decode_image
from tests.support.tiny import picture_bytes
from tests.training.readers.sources import write, write_media
from training.commands.convert import convert as command
from training.data import read_samples
from training.problems import Kind, OnProblem, ProblemLog, SampleError
from training.readers import READERS, Options, convert
from training.readers.media import FILES, Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_media(tmp_path / "photos")


@pytest.fixture
def table(root: Path) -> Path:
    return write(root / "t.csv", "file,caption\na.png,a cat\nc.wav,a bark\na.png,again\n")


def run(name: str, source: Path, output: Path, **options: Any) -> convert.Conversion:
    reader = READERS[name](str(source), Options(root=source if source.is_dir() else source.parent))
    return convert.convert(reader, output, **options)


@pytest.mark.parametrize("files", FILES)
def test_samples_are_read_back_with_their_media(table: Path, tmp_path: Path, files: Files) -> None:
    output = tmp_path / "corpus/mine/train.jsonl"
    done = run("csv", table, output, files=files, meta={"language": "en"})
    assert done.lines() == [f"3 samples with 1 audio, 2 image media written to {output}"]
    samples = read_samples(output)
    assert [sample.id for sample in samples] == [f"mine/train/{index:06d}" for index in range(3)]
    assert samples[1].meta == {"task": "mine", "source": "mine", "origin": "t.csv:3", "language": "en"}
    assert samples[0].messages[0]["content"][1] == {"type": "text", "text": "Describe the picture."}
    assert samples[0].answer == "a cat"
    places = [sample.media[0].path for sample in samples]
    assert places[0] == places[2]
    assert places[0].read_bytes() == picture_bytes(1)
    original = table.parent / "a.png"
    if files == "refer":
        assert places[0] == original
        assert not (output.parent / "media").exists()
    else:
        assert places[0].parent == output.parent / "media"
        assert len(list(places[0].parent.iterdir())) == 2, "the same content is one file"
        assert (places[0].stat().st_ino == original.stat().st_ino) == (files == "link")


def test_paths_hold_behind_a_link(table: Path, tmp_path: Path) -> None:
    """`..` of a linked folder is not that of the folder it leads to."""
    real = tmp_path / "deep/er/real"
    real.mkdir(parents=True)
    (tmp_path / "corpus").symlink_to(real)
    run("csv", table, tmp_path / "corpus/train.jsonl")
    assert read_samples(tmp_path / "corpus/train.jsonl")[0].media[0].path == table.parent / "a.png"


def test_bytes_in_a_source_become_files_by_what_they_are(root: Path, tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = [{"bytes": data, "path": "wrong.gif"} for data in (picture_bytes(1), picture_bytes(1), b"no picture")]
    datasets.Dataset.from_dict({"image": rows, "text": ["x", "y", "z"]}, features=features).to_parquet(
        root / "d.parquet"
    )
    output, log = tmp_path / "mine/train.jsonl", ProblemLog()
    run("hf", root / "d.parquet", output, on_problem="skip", problems=log)
    first, second = read_samples(output)
    assert first.media == second.media
    assert first.media[0].path.suffix == ".png"
    assert first.meta["origin"] == "d.parquet, train record 1"
    assert [str(problem).partition("d.parquet, ")[2] for problem in log.first] == [
        "train record 3: the image is unreadable (UnidentifiedImageError)"
    ]


def test_media_of_the_shipped_examples_are_decoded_as_before(tmp_path: Path) -> None:
    """A whole way: captions beside files, copied, read back, decoded."""
    root = write_media(tmp_path / "photos")
    for name in ("a", "b", "c"):
        write(root / f"{name}.txt", f"caption of {name}")
    run("folder", root, tmp_path / "mine/train.jsonl", files="copy")
    for sample in read_samples(tmp_path / "mine/train.jsonl"):
        (medium,) = sample.media
        {"image": decode_image, "audio": decode_audio}[medium.modality](medium.path.read_bytes())


def test_the_policy_for_problems(root: Path, tmp_path: Path) -> None:
    table = write(root / "t.csv", "file,caption\na.png,a cat\nno.png,x\nb.png,\n")
    output = tmp_path / "mine/train.jsonl"
    with pytest.raises(SampleError, match=r"t\.csv:3: .*no\.png does not exist"):
        run("csv", table, output)
    assert list(output.parent.iterdir()) == [], "nothing half-written stays"
    with pytest.raises(ValueError, match="give a ProblemLog"):
        run("csv", table, output, on_problem="skip")
    with ProblemLog(1, convert.skipped_file(output)) as log:
        assert run("csv", table, output, on_problem="skip", problems=log).files[0].samples == 1
    assert log.kinds == {"missing medium": 1, "no caption": 1}
    left_out = [json.loads(line) for line in (output.parent / "train.skipped.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in left_out] == [f"{table}:3", f"{table}:4"]
    *shown, more, counts = log.lines()
    assert len(shown) == 1
    assert more == f"... and 1 more, all of them in {output.parent}/train.skipped.jsonl"
    assert counts == "1 missing medium, 1 no caption"


def test_media_are_held_out_and_never_in_both_files(tmp_path: Path) -> None:
    """About the share that was asked for, the same ones whatever the files are called."""
    lines = ["file,question,answer"]
    (tmp_path / "photos").mkdir()
    for index in range(200):
        (tmp_path / f"photos/{index}.png").write_bytes(b"%d" % (index // 2))
        lines += [f"{index}.png,{question},x" for question in ("What?", "Where?")]
    table = write(tmp_path / "photos/t.csv", "\n".join(lines))
    done = run("csv", table, tmp_path / "mine/train.jsonl", test_share=0.25)
    train, test = (read_samples(written.path) for written in done.files)
    contents = [{sample.media[0].path.read_bytes() for sample in samples} for samples in (train, test)]
    assert len(train) + len(test) == 400
    assert contents[0] & contents[1] == set()
    assert 10 <= len(contents[1]) <= 40
    assert {sample.id.rpartition("/")[0] for sample in test} == {"mine/test"}
    for index in range(200):
        (tmp_path / f"photos/{index}.png").rename(tmp_path / f"photos/renamed-{index}.png")
    write(table, table.read_text().replace("\n", "\nrenamed-"))
    again = run("csv", table, tmp_path / "again/train.jsonl", test_share=0.25, files="copy")
    assert {sample.media[0].path.read_bytes() for sample in read_samples(again.files[1].path)} == contents[1]
    with pytest.raises(DataError, match=r"what is held out goes to test\.jsonl"):
        run("csv", table, tmp_path / "again/test.jsonl", test_share=0.25)


def test_a_sample_on_both_sides_is_a_problem(tmp_path: Path) -> None:
    names = [f"{index}.png" for index in range(30)]
    for name in names:
        write(tmp_path / "photos" / name, name)
    turns = [{"from": "human", "value": "<image>" * 30}, {"from": "gpt", "value": "x"}]
    text = [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]
    values = [{"image": names, "conversations": turns}, {"conversations": text}]
    log = ProblemLog()
    source = write(tmp_path / "photos/d.json", values)
    done = run("llava", source, tmp_path / "train.jsonl", test_share=0.5, on_problem="skip", problems=log)
    assert log.kinds == {Kind.LEAK: 1}
    assert sum(written.samples for written in done.files) == 1


def test_nothing_usable_is_an_error(root: Path, tmp_path: Path) -> None:
    table = write(root / "t.csv", "file,caption\nno.png,x\n")
    with pytest.raises(DataError, match=r"holds no usable sample; 1 left out"):
        run("csv", table, tmp_path / "train.jsonl", on_problem="skip", problems=ProblemLog())
    assert not (tmp_path / "train.jsonl").exists()


def test_columns_that_cannot_be_kept_are_named(root: Path, tmp_path: Path) -> None:
    source = write(root / "d.json", [{"conversations": [{"user": "a", "assistant": "b"}], "boxes": [1], "more": {}}])
    assert run("llava", source, tmp_path / "train.jsonl").lines()[1] == (
        "columns left out, because they hold no plain values: boxes, more"
    )


def test_the_command_offers_what_there_is() -> None:
    """The command names the choices itself, because importing them takes seconds."""
    hints = get_type_hints(command)
    assert set(get_args(hints["format"])) == READERS.keys()
    assert get_args(hints["files"]) == FILES
    assert get_args(hints["on_problem"]) == get_args(OnProblem)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", "convert", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(root / "t.csv", "foto,teks\na.png,seekor kucing\nno.png,x\nb.png,seekor anjing\n")
    output = tmp_path / "corpus/mine/train.jsonl"
    columns = ["--column", "image=foto", "--column", "answer=teks"]
    code, _, err = call(capsys, "csv", table, output, *columns)
    assert (code, err.count("t.csv:3: ")) == (1, 1)
    options = ["--question", "Apa ini?", "--meta", "language=ms", "--meta", "task=mine/apa", "--files", "copy"]
    code, out, err = call(capsys, "csv", table, output, *columns, *options, "--on-problem", "skip")
    assert code == 0
    assert "1 missing medium" in err
    assert f"1 left out, listed in {output.with_name('train.skipped.jsonl')}" in out
    samples = read_samples(output)
    assert [(sample.task, sample.meta["language"]) for sample in samples] == [("mine/apa", "ms")] * 2
    assert samples[0].messages[0]["content"][1]["text"] == "Apa ini?"
    code, _, err = call(capsys, "csv", table, output, *columns)
    assert "exists; replace it with --overwrite" in err
    code, out, _ = call(capsys, "csv", table, output, *columns, "--limit", 1, "--overwrite", "--media", root)
    assert (code, len(read_samples(output))) == (0, 1)
    assert not output.with_name("train.skipped.jsonl").exists(), "of an earlier conversion"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["csv", "t.csv", "out"], "give the name of a .jsonl file, such as out/train.jsonl"),
        (["csv", "t.csv", "o.jsonl", "--media", "none"], "none: is no folder"),
        (["csv", "none.csv", "o.jsonl"], "none.csv: does not exist"),
        (["csv", "t.csv", "o.jsonl", "--meta", "language"], "--meta language: write it as KEY=TEXT"),
    ],
)
def test_wrong_arguments_are_named(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(table.parent)
    code, _, err = call(capsys, *arguments)
    assert (code, message in err) == (1, True)
