"""CSV, captioned folders and Hugging Face datasets."""

import csv
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from model.errors import DataError
from tests.support.tiny import picture_bytes, sound_bytes
from tests.training.readers.sources import problems, read, said, write, write_media
from training.problems import SampleError
from training.readers.base import SUFFIXES
from training.readers.table import table_rows

LOOK, LISTEN = "Describe the picture.", "Describe the sound."


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_media(tmp_path / "root")


def test_csv_of_captions(root: Path) -> None:
    rows = ["\ufefffile,caption,licence", 'a.png,"a ""red""\ncat",CC0-1.0', "", "c.wav,a bark,", ""]
    source = write(root / "t.csv", "\r\n".join(rows))
    first, second = read("csv", source, root)
    assert said(first.turns) == [("user", ["image:a.png", LOOK]), ("assistant", ['a "red"\ncat'])]
    assert said(second.turns) == [("user", ["audio:c.wav", LISTEN]), ("assistant", ["a bark"])]
    assert (first.meta, second.meta) == ({"licence": "CC0-1.0"}, {})
    assert (first.where, second.where) == (f"{source}:3", f"{source}:5")


def test_tsv_of_questions_about_two_media(root: Path) -> None:
    source = write(root / "t.tsv", "id\timage\taudio\tquestion\tlabel\n7\ta.png\tc.wav\tSame?\tno\n8\t\t\t1+1?\t2\n")
    first, second = read("csv", source, root)
    assert said(first.turns) == [("user", ["image:a.png", "audio:c.wav", "Same?"]), ("assistant", ["no"])]
    assert said(second.turns) == [("user", ["1+1?"]), ("assistant", ["2"])]
    assert (first.id, first.meta) == ("7", {"label": "no"})


def test_columns_by_other_names_and_questions_in_turn(root: Path) -> None:
    source = write(root / "t.csv", "foto,teks,image\na.png,seekor kucing,x\nb.png,seekor anjing,y\na.png,lagi,z\n")
    columns = {"image": "foto", "answer": "teks"}
    drafts = read("csv", source, root, columns=columns, questions=["Apa ini?", "Terangkan."])
    assert [said(draft.turns)[0][1] for draft in drafts] == [
        ["image:a.png", "Apa ini?"],
        ["image:b.png", "Terangkan."],
        ["image:a.png", "Apa ini?"],
    ]
    assert drafts[0].meta == {"image": "x"}


def test_what_is_wrong_in_a_table_is_named_by_line(root: Path) -> None:
    rows = ["a.png,x,y", "a.png", "no.png,x", "a.png, ", ",x", "../secret.png,x", "t.csv,x", f"{root}/a.png,x"]
    source = write(root / "t.csv", "file,answer\n" + "\n".join(rows) + "\n")
    assert problems("csv", source, root) == [
        "t.csv:2: 3 cells, the header has 2",
        "t.csv:3: 1 cells, the header has 2",
        "t.csv:4: column 'file': no.png does not exist",
        "t.csv:5: column 'answer': expected a text that is not empty, got ' '",
        "t.csv:6: neither a medium nor a question; an answer alone teaches nothing",
        f"t.csv:7: column 'file': {root.parent}/secret.png lies outside ROOT",
        f"t.csv:8: t.csv: .csv is not one of {', '.join(SUFFIXES)}",
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "t.csv: holds no header"),
        ("a,a\n", {}, "t.csv:1: two columns share a name: a, a"),
        ('file,answer\na.png,"x', {}, "t.csv: not a valid table after line 1"),
        ("file,b\na.png,x\n", {}, "t.csv:2: no column holds the answer; there are file, b. Name it: answer=COLUMN"),
        ("file,b\na.png,x\n", {"columns": {"answer": "c"}}, "t.csv:2: has no column 'c'; it has file, b"),
        ("file,b\na.png,x\n", {"columns": {"reply": "b"}}, "column reply=b: 'reply' is not one of id, file, image"),
    ],
)
def test_a_table_without_answers_is_named(root: Path, text: str, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("+", "\\+")):
        read("csv", write(root / "t.csv", text), root, **options)


@settings(max_examples=30, deadline=None)
@given(cells=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), min_size=1))
def test_a_table_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["x", "y"], *cells])
    assert [list(row.values()) for _, row in table_rows(path)] == cells


def test_captions_beside_media(root: Path) -> None:
    write(root / "a.txt", "\ufeffa red cat\n")
    write(root / "c.txt", "a bark")
    write(root / "deep/d.txt", "two\nlines")
    (root / "deep/d.PNG").write_bytes(picture_bytes(4))
    (root / "b.png").unlink()
    write(root / ".cache/x.txt", "hidden")
    drafts = read("folder", root, root)
    assert [said(draft.turns) for draft in drafts] == [
        [("user", ["image:a.png", LOOK]), ("assistant", ["a red cat"])],
        [("user", ["audio:c.wav", LISTEN]), ("assistant", ["a bark"])],
        [("user", ["image:d.PNG", LOOK]), ("assistant", ["two\nlines"])],
    ]
    assert drafts[2].where == str(root / "deep/d.PNG")


def test_nothing_in_a_folder_is_passed_over(root: Path) -> None:
    write(root / "b.txt", "  ")
    (root / "c.txt").write_bytes(b"\xff")
    write(root / "d.txt", "of nothing")
    write(root / "notes.md", "x")
    (root / "z.png").symlink_to(root.parent / "secret.png")
    write(root / "z.txt", "not for you")
    found = problems("folder", root, root)
    assert [line.partition(", .jpg")[0] for line in found] == [
        "a.png: no caption: a.txt does not exist",
        "b.png: b.txt is empty",
        "c.wav: c.txt cannot be read ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)",
        "d.txt: a caption without a picture or sound of the same name",
        "notes.md: neither a picture, a sound nor a caption (.png",
        f"z.png: column 'file': {root.parent}/secret.png lies outside ROOT",
    ]
    with pytest.raises(DataError, match="is no folder"):
        read("folder", root / "a.png", root)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_folder_with_a_table(root: Path, name: str) -> None:
    lines = {
        "metadata.csv": "file_name,text\na.png,a cat\nmissing.png,x\n",
        "metadata.jsonl": '{"file_name": "a.png", "text": "a cat"}\n{"file_name": "missing.png", "text": "x"}\n',
    }[name]
    write(root / name, lines)
    found = problems("folder", root, root)
    line = 3 if name == "metadata.csv" else 2
    assert found == [
        f"{name}:{line}: column 'file_name': missing.png does not exist",
        f"b.png: {name} does not name it; remove the file or add a line",
        f"c.wav: {name} does not name it; remove the file or add a line",
    ]
    for unused in ("b.png", "c.wav"):
        (root / unused).unlink()
    write(root / name, lines.rstrip("\n").rpartition("\n")[0])
    (draft,) = read("folder", root, root)
    assert said(draft.turns) == [("user", ["image:a.png", LOOK]), ("assistant", ["a cat"])]
    write(root / "metadata.csv", "")
    write(root / "metadata.jsonl", "")
    with pytest.raises(DataError, match=r"holds both metadata\.csv and metadata\.jsonl; remove one"):
        read("folder", root, root)


def test_rows_of_a_folder_need_not_be_alike(root: Path) -> None:
    write(root / "metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n7\n{"file_name": "b.png"}\n{"text": "c.wav"}')
    assert problems("folder", root, root) == [
        "metadata.jsonl:2: expected an object of columns and values",
        "metadata.jsonl:3: no column holds the answer; there are file_name. Name it: answer=COLUMN",
        "metadata.jsonl:4: neither a medium nor a question; an answer alone teaches nothing",
    ]


@pytest.fixture
def captions() -> datasets.Dataset:
    """Pictures and sounds inside the table, a class label, several captions, a box that no line can hold."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "audio": datasets.Audio(),
            "caption": datasets.List(datasets.Value("string")),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "box": datasets.List(datasets.Value("float32")),
        }
    )
    rows = [
        {
            "image": {"bytes": picture_bytes(1), "path": "x.png"},
            "audio": None,
            "caption": ["one", "two"],
            "kind": 1,
            "box": [1.0],
        },
        {
            "image": None,
            "audio": {"bytes": sound_bytes(1, 0.1), "path": None},
            "caption": ["three"],
            "kind": 0,
            "box": [],
        },
    ]
    # Not `Dataset.from_dict`: it wants a decoder of sounds to store their bytes.
    table = pa.table({name: [row[name] for row in rows] for name in features}, schema=features.arrow_schema)
    return datasets.Dataset(table)


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", ["saved", "splits", "parquet", "folder", "arrow"])
def test_hugging_face_datasets_on_disk(tmp_path: Path, captions: datasets.Dataset, kind: str) -> None:
    place = tmp_path / "data"
    if kind == "saved":
        captions.save_to_disk(place)
    elif kind == "splits":
        datasets.DatasetDict({"test": captions.select([0]), "train": captions}).save_to_disk(place)
    elif kind == "parquet":
        place = tmp_path / "data.parquet"
        captions.to_parquet(place)
    elif kind == "folder":
        place.mkdir()
        captions.to_parquet(place / "train-00000-of-00001.parquet")
        captions.select([1]).to_parquet(place / "test-00000-of-00001.parquet")
    else:
        captions.save_to_disk(tmp_path / "saved")
        (place,) = (tmp_path / "saved").glob("*.arrow")
    first, second, third = read("hf", place, tmp_path)
    picture, sound = len(picture_bytes(1)), len(sound_bytes(1, 0.1))
    assert said(first.turns) == [("user", [f"image:{picture}", LOOK]), ("assistant", ["one"])]
    assert said(second.turns) == [("user", [f"image:{picture}", LOOK]), ("assistant", ["two"])]
    assert said(third.turns) == [("user", [f"audio:{sound}", LISTEN]), ("assistant", ["three"])]
    assert (first.meta, third.meta) == ({"kind": "dog"}, {"kind": "cat"})
    assert third.where == f"{place}, train record 2"
    if kind in ("splits", "folder"):
        assert len(read("hf", place, tmp_path, split="test")) == {"splits": 2, "folder": 1}[kind]
    if kind != "parquet" and kind != "arrow":
        with pytest.raises(DataError, match="'validation'"):
            read("hf", place, tmp_path, split="validation")


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_image_and_audio_folders(tmp_path: Path, kind: str) -> None:
    """As `datasets` lays them out: files beside a table."""
    folder = tmp_path / "data"
    name, data = {"image": ("a.png", picture_bytes(1)), "audio": ("a.wav", sound_bytes(1, 0.1))}[kind]
    (folder / "train").mkdir(parents=True)
    (folder / "train" / name).write_bytes(data)
    write(folder / "train/metadata.jsonl", f'{{"file_name": "{name}", "text": "a thing"}}')
    (draft,) = read("hf", folder, folder)
    assert said(draft.turns)[0][1][0] == f"{kind}:{name}"
    assert said(draft.turns)[1] == ("assistant", ["a thing"])


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_folders_of_classes(tmp_path: Path, kind: str) -> None:
    """Without a table, the name of the folder is the answer, and the label of a closed set."""
    name, data = {"image": ("a.png", picture_bytes(1)), "audio": ("a.wav", sound_bytes(1, 0.1))}[kind]
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / name).write_bytes(data)
    drafts = read("hf", tmp_path / "data", tmp_path)
    assert [(said(draft.turns)[1][1], draft.meta) for draft in drafts] == [
        (["cat"], {"label": "cat"}),
        (["dog"], {"label": "dog"}),
    ]


CONVERSATIONS = [
    ("conversations", [{"from": "human", "value": "<image>\nOne? <image>"}, {"from": "gpt", "value": "1"}]),
    ("messages", [{"role": "user", "content": "<image>One? <image>"}, {"role": "assistant", "content": "1"}]),
    ("texts", [{"user": "One?", "assistant": "1", "source": "x"}]),
]


@pytest.mark.parametrize(("column", "turns"), CONVERSATIONS)
def test_conversations_in_a_column(tmp_path: Path, column: str, turns: Any) -> None:
    """LLaVA's turns, messages, and the pairs of the Cauldron, over a list of pictures."""
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            column: datasets.List({name: datasets.Value("string") for name in turns[0]}),
        }
    )
    row = {"images": [{"bytes": picture_bytes(n), "path": None} for n in (1, 2)], column: turns}
    datasets.Dataset.from_dict({name: [value] for name, value in row.items()}, features=features).to_parquet(
        tmp_path / "d.parquet"
    )
    (draft,) = read("hf", tmp_path / "d.parquet", tmp_path)
    one, two = (f"image:{len(picture_bytes(n))}" for n in (1, 2))
    expected = [one, two, "One?"] if column == "texts" else [one, "One? ", two]
    assert said(draft.turns) == [("user", expected), ("assistant", ["1"])]


def test_media_are_found_by_their_type(tmp_path: Path) -> None:
    """Whatever the columns are called."""
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"img": [{"bytes": picture_bytes(1), "path": None}], "label": [1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "d.parquet")
    (draft,) = read("hf", tmp_path / "d.parquet", tmp_path)
    assert said(draft.turns)[0] == ("user", [f"image:{len(picture_bytes(1))}", LOOK])
    assert (said(draft.turns)[1], draft.meta) == (("assistant", ["dog"]), {"label": "dog"})


def test_parts_in_a_message_are_markers(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look: "}, {"type": "image", "text": None}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "A cat"}]}]
    rows = {"messages": [turns], "images": [[{"bytes": picture_bytes(1), "path": None}]]}
    features = datasets.Features(
        {
            "messages": datasets.List(
                {
                    "role": datasets.Value("string"),
                    "content": datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")}),
                }
            ),
            "images": datasets.List(datasets.Image()),
        }
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "d.parquet")
    (draft,) = read("hf", tmp_path / "d.parquet", tmp_path)
    assert said(draft.turns) == [
        ("user", ["Look: ", f"image:{len(picture_bytes(1))}"]),
        ("assistant", ["A cat"]),
    ]


def test_the_hub_is_streamed_at_a_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **options: Any) -> Any:
        asked.update(options, name=name)
        return datasets.Dataset.from_dict({"question": ["1+1?"], "answer": ["2"]}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    (draft,) = read("hf", "hub:org/name@abc123", tmp_path, split="validation")
    assert said(draft.turns) == [("user", ["1+1?"]), ("assistant", ["2"])]
    assert asked == {"name": "org/name", "revision": "abc123", "split": "validation", "streaming": True}


def test_a_path_in_a_dataset_must_lie_in_the_folder(tmp_path: Path) -> None:
    root = write_media(tmp_path / "root")
    paths = [str(root / "a.png"), str(tmp_path / "secret.png"), str(root / "none.png"), "hf://datasets/o/n/a.png"]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    columns = {"image": [{"bytes": None, "path": path} for path in paths], "text": ["x"] * 4}
    parquet.write_table(pa.table(columns, schema=features.arrow_schema), root / "d.parquet")
    assert problems("hf", root / "d.parquet", root) == [
        f"d.parquet, train record 2: column 'image': {tmp_path}/secret.png lies outside ROOT",
        "d.parquet, train record 3: column 'image': none.png does not exist",
        "d.parquet, train record 4: column 'image': 'hf://datasets/o/n/a.png' is not in the table; "
        "download the dataset first",
    ]


@pytest.mark.parametrize("source", ["none", "data.txt", "damaged.parquet"])
def test_what_is_no_dataset_is_named(tmp_path: Path, source: str) -> None:
    if source != "none":
        (tmp_path / source).write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match=source) as raised:
        read("hf", tmp_path / source, tmp_path)
    assert not isinstance(raised.value, SampleError)
