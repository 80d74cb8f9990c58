import base64
from pathlib import Path

import pytest

from model.errors import MediaError
from server.chat import part, parts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cat.png", "my dog.JPG", "call.wav"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kinds(line: str) -> list[str]:
    return [item["text"] if item["type"] == "text" else item["type"] for item in parts(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain text", ["plain text"]),
        ("@cat.png", ["image_url"]),
        ("What is @cat.png and @call.wav?", ["What is ", "image_url", " and ", "input_audio", "?"]),
        ("@cat.png, @cat.png.", ["image_url", ", ", "image_url", "."]),
        ('@"my dog.JPG" @cat.png', ["image_url", " ", "image_url"]),
        ("mail me@cat.png", ["mail me@cat.png"]),
        ("thanks @anna", ["thanks @anna"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_media_stand_where_they_are_named(line: str, expected: list[str]) -> None:
    assert kinds(line) == expected


def test_bytes_are_those_of_the_file(folder: Path) -> None:
    url = part(folder / "cat.png")["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == b"cat.png"
    assert part(folder / "call.wav")["input_audio"]["format"] == "wav"


@pytest.mark.usefixtures("folder")
def test_files_that_cannot_be_sent() -> None:
    with pytest.raises(MediaError, match="No such file"):
        parts("@missing.png")
    with pytest.raises(MediaError, match="neither a picture nor a sound"):
        parts("@notes.txt")
