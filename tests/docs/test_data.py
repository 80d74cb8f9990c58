"""Runs what docs/data.md says, on a few files of every format, and compares its tables with the code."""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
import yaml

from model.cli import main
from tests.docs.markdown import ROOT, blocks, prose
from tests.support.tiny import picture_bytes, sound_bytes
from tests.training.parts import recipe_values, write_parts
from training.data import read_samples
from training.problems import Kind
from training.readers import READERS
from training.readers.rows import COLUMNS
from training.show import PAGE_BYTES

DOCUMENT = "docs/data.md"
SHELL = [block for block in blocks(DOCUMENT) if block.language == "sh"]
(OUTPUT,) = (block for block in blocks(DOCUMENT) if block.language == "text")
(PYTHON,) = (block for block in blocks(DOCUMENT) if block.language == "python")
(SAMPLE,) = (block for block in blocks(DOCUMENT) if block.language == "json")


def prepare(folder: Path) -> None:
    """The files that the commands name."""
    for name in ("coco", "photos", "media"):
        (folder / name).mkdir()
    for index, place in enumerate(("coco/1.png", "coco/2.png", "photos/a.png", "photos/b.png", "media/cat.png")):
        (folder / place).write_bytes(picture_bytes(index))
    (folder / "photos/a.txt").write_text("a cat")
    (folder / "photos/b.txt").write_text("a fish")
    (folder / "media/miaow.wav").write_bytes(sound_bytes(1, 0.5))
    turns = [("human", "<image>\nAnd <image>: alike?"), ("gpt", "They are"), ("human", "Sure?"), ("gpt", "Yes.")]
    talk = [{"from": role, "value": value} for role, value in turns]
    llava = [{"id": "1", "image": ["1.png", "2.png"], "conversations": talk}]
    (folder / "llava.json").write_text(json.dumps(llava))
    said = [("image", "media/cat.png"), ("audio", "media/miaow.wav"), ("text", "Is this what it says?")]
    messages = [{"role": "user", "type": kind, "content": content} for kind, content in said]
    messages.append({"role": "bot", "type": "text", "content": "It does"})
    (folder / "s3.jsonl").write_text(json.dumps({"id": "0", "messages": messages}) + "\n")
    (folder / "clips.csv").write_text("clip,teks\nmedia/miaow.wav,meow\n")
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = {"image": [{"bytes": picture_bytes(n), "path": None} for n in (7, 8)], "text": ["a dog", "two cows"]}
    (folder / "captions").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "captions/train-00000-of-00001.parquet")
    recipe = recipe_values(write_parts(folder))
    for modality in recipe["modalities"].values():
        modality |= {"initialisation": {"type": "random"}, "projector": {"type": "mlp", "tokens": 2}}
    sources = ("captions", "clips", "llava", "photos", "s3")
    recipe["stages"][0] |= {"max_length": 256, "batch_tokens": 256, "data": [{"source": source} for source in sources]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory in which all commands have run, with what each printed."""
    folder = tmp_path_factory.mktemp("data")
    prepare(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUARTET_CACHE", str(folder / "cache"))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "hf")
        for words in (words for block in SHELL for words in block.commands):
            assert words[0] == "quartet"
            output = io.StringIO()
            with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
                main(words[1:])
            assert end.value.code in (0, None), output.getvalue()
            (folder / f"{words[2]}.txt").write_text(output.getvalue())
        yield folder


def test_every_block_is_run() -> None:
    assert {*SHELL, OUTPUT, PYTHON, SAMPLE} == set(blocks(DOCUMENT))


def test_commands(place: Path) -> None:
    samples = {path.parent.name: read_samples(path) for path in (place / "data/corpus").glob("*/train.jsonl")}
    assert {name: len(members) for name, members in samples.items()} == {
        "captions": 2, "clips": 1, "llava": 1, "photos": 2, "s3": 1,
    }  # fmt: skip
    assert samples["photos"][0].meta["language"] == "en"
    assert [medium.path for medium in samples["llava"][0].media] == [place / "coco/1.png", place / "coco/2.png"]
    assert all(sample.media[0].path.parent.name == "media" for sample in samples["photos"])
    assert (place / "samples.html").read_text().count("<article") == 7
    assert (place / "one.html").read_text().count("<article") == 1


def test_the_output_is_real(place: Path) -> None:
    assert (place / "check.txt").read_text() == OUTPUT.text


def test_the_snippet_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PYTHON.text, str(PYTHON), "exec"), {})
    assert capsys.readouterr().out == "data/corpus/llava/train.jsonl:1 llava ['1.png', '2.png'] Yes.\n\n"


def test_the_sample_is_real(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "server/examples", tmp_path / "media")
    (tmp_path / "train.jsonl").write_text(json.dumps(json.loads(SAMPLE.text)) + "\n")
    (sample,) = read_samples(tmp_path / "train.jsonl")
    assert [medium.modality for medium in sample.media] == ["image", "audio"]


def rows(first: str) -> dict[str, list[str]]:
    """The table whose first heading is `first`: first cell -> the others, without backticks."""
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", prose(DOCUMENT), re.M)
    assert table is not None
    lines = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table[1].splitlines()]
    return {cells[0].strip("` "): cells[1:] for cells in lines}


def test_tables_are_those_of_the_code() -> None:
    assert rows("format").keys() == READERS.keys()
    assert rows("kind").keys() == {str(kind) for kind in Kind}
    documented = {role: tuple(re.findall(r"`(\w+)`", cells[0])) for role, cells in rows("role").items()}
    assert documented == COLUMNS
    assert f"at most {PAGE_BYTES >> 20} MiB" in prose(DOCUMENT)
