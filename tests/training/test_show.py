"""The page of samples: which are chosen, what is embedded, and that nothing in them becomes markup."""

import base64
import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from model.cli import main
from model.errors import DataError
from tests.support.tiny import picture_bytes, sound_bytes
from tests.training.parts import audio, image, sample, text, write_json_lines
from training.data import MediaRef, read_samples
from training.problems import ProblemLog
from training.show import Shown, choose, page
from training.show.embed import PIXELS, SMALL, embed

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='alert(3)"


class Markup(HTMLParser):
    """Elements with their attributes, and the text outside of styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data

    def urls(self, tag: str) -> list[str]:
        return [str(values["src"]) for name, values in self.elements if name == tag]


def render(samples: list[dict[str, Any]], folder: Path, **options: Any) -> Markup:
    read = read_samples(write_json_lines(folder / "train.jsonl", samples))
    return Markup(page(Shown(read, len(read), ProblemLog()), "title", **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(picture_bytes(1))
    (tmp_path / "c.wav").write_bytes(sound_bytes(1, 0.2))
    return tmp_path


def test_turns_in_order_with_their_media(folder: Path) -> None:
    turns = ([text("Look "), image("a.png"), text(" listen "), audio("c.wav")], "red"), ("And now?", "blue\nor not")
    shown = render([sample("s/1", *turns, task="t", language="ms")], folder)
    words = ["s/1", "language", "ms", "Look", "a.png", "listen", "c.wav", "red", "And now?", "blue\nor not"]
    places = [shown.text.find(word) for word in words]
    assert -1 not in places
    assert places == sorted(places)
    roles = [values["class"] for name, values in shown.elements if name == "section"]
    assert roles == ["turn user", "turn assistant"] * 2
    (picture,), (sound,) = shown.urls("img"), shown.urls("audio")
    assert picture == "data:image/png;base64," + base64.b64encode(picture_bytes(1)).decode()
    assert sound == "data:audio/wav;base64," + base64.b64encode(sound_bytes(1, 0.2)).decode()


def test_nothing_in_a_sample_becomes_markup(folder: Path) -> None:
    name = "x\"onerror='1'.png"
    (folder / name).write_bytes(picture_bytes(1))
    hostile = sample(HOSTILE, ([text(HOSTILE), image(name)], HOSTILE), **{"task": HOSTILE, HOSTILE: HOSTILE})
    harmless = sample("s", ([text("x"), image(name)], "x"), task="t", other="x")
    shown, expected = render([hostile], folder), render([harmless], folder)
    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in expected.elements]
    assert [set(values) for _, values in shown.elements] == [set(values) for _, values in expected.elements]
    assert shown.text.count(HOSTILE) == 6, "id, task, key and value of meta, question, answer"
    assert not re.search("<(script|link|iframe)", page(Shown([], 0, ProblemLog()), "t"))


def test_the_page_may_load_nothing(folder: Path) -> None:
    shown = render([sample("s", ([image("a.png")], "x"))], folder)
    (policy,) = [values["content"] for tag, values in shown.elements if values.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    assert all(url.startswith("data:") for tag in ("img", "audio") for url in shown.urls(tag))


def test_both_colour_schemes(folder: Path) -> None:
    html = page(choose([write_json_lines(folder / "train.jsonl", [sample("s", ("x", "y"))])]), "t")
    light, dark = html.split("prefers-color-scheme: dark", 1)
    used = set(re.findall(r"var\((--\w+)\)", html))
    assert used == set(re.findall(r"(--\w+): #", light)) == set(re.findall(r"(--\w+): #", dark))


def decoded(url: str | None) -> bytes:
    assert url is not None
    return base64.b64decode(url.partition(",")[2])


def test_large_media_are_made_smaller(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    picture = embed(MediaRef("image", tmp_path / "a.png"), 1 << 30)
    assert picture.note == f"1200x900, shown as {PIXELS}x576 JPEG"
    assert Image.open(io.BytesIO(decoded(picture.url))).size == (PIXELS, 576)
    (tmp_path / "c.wav").write_bytes(sound_bytes(1, 40.0))
    sound = embed(MediaRef("audio", tmp_path / "c.wav"), 1 << 30)
    assert sound.note == "40.0 s, 16000 Hz, the first 30 s as FLAC"
    samples, rate = soundfile.read(io.BytesIO(decoded(sound.url)))
    assert (len(samples), rate) == (30 * 16_000, 16_000)
    assert picture.bytes + sound.bytes < sum(SMALL.values()) * 2


@pytest.mark.parametrize(("kind", "suffix"), [("TIFF", "tiff"), ("BMP", "bmp"), ("AIFF", "aiff")])
def test_what_browsers_do_not_know_is_encoded_anew(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if kind == "AIFF":
        soundfile.write(path, np.zeros(1600), 16_000, format="AIFF")
    else:
        Image.new("RGB", (8, 8)).save(path, kind)
    embedded = embed(MediaRef("audio" if kind == "AIFF" else "image", path), 1 << 20)
    assert str(embedded.url).startswith("data:audio/flac;" if kind == "AIFF" else "data:image/jpeg;")


def test_the_page_is_bounded(folder: Path) -> None:
    size = len(picture_bytes(1))
    samples = [sample(str(index), ([image("a.png")], "x")) for index in range(3)]
    shown = render(samples, folder, limit=2 * size)
    assert len(shown.urls("img")) == 2
    assert shown.text.count("48x40; left out, the page is full") == 1


def test_what_cannot_be_shown_says_why(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"nothing")
    shown = render([sample("s", ([image("bad.png"), audio("a.png")], "x"))], folder)
    assert shown.urls("img") == shown.urls("audio") == []
    assert "bad.png: not a picture: send one of PNG" in shown.text
    assert "a.png: not a sound, or a damaged one" in shown.text


def write_many(folder: Path, number: int) -> Path:
    return write_json_lines(
        folder / "train.jsonl", [sample(f"s/{index}", ("x", "y"), task=f"t/{index % 2}") for index in range(number)]
    )


def test_a_random_few_in_their_order(tmp_path: Path) -> None:
    path = write_many(tmp_path, 10)
    drawn: Counter[str] = Counter()
    for seed in range(300):
        shown = choose([path], number=3, seed=seed)
        names = [s.id for s in shown.samples]
        assert names == sorted(set(names))
        drawn.update(names)
    assert (shown.total, shown.tasks) == (10, {"t/0": 5, "t/1": 5})
    # 90 expected of each; 40 away is more than five standard deviations.
    assert all(abs(count - 90) < 40 for count in drawn.values())
    assert len(drawn) == 10
    again = choose([path], number=3, seed=299)
    assert [s.id for s in again.samples] == names
    assert len(choose([path], number=99).samples) == 10


def test_samples_by_id_and_by_task(tmp_path: Path) -> None:
    path = write_many(tmp_path, 10)
    assert [s.id for s in choose([path], ids=["s/7", "s/2"], number=1).samples] == ["s/2", "s/7"]
    assert {s.task for s in choose([path], tasks=["t/1"]).samples} == {"t/1"}
    with pytest.raises(DataError, match=r"no sample has the id 's/99' and 1 more"):
        choose([path], ids=["s/99", "s/999", "s/1"])
    with pytest.raises(DataError, match="nothing to show of task 'none'"):
        choose([path], tasks=["none"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_many(tmp_path / "mine", 4)
    path.write_text(path.read_text() + "{\n")
    output = tmp_path / "pages/page.html"
    with pytest.raises(SystemExit) as ended:
        main(["data", "show", str(tmp_path / "mine"), "-o", str(output), "-n", "2"])
    out, err = capsys.readouterr()
    assert ended.value.code in (0, None)
    assert out == f"2 of 4 samples written to {output}\n"
    assert "train.jsonl:5: not readable: not valid JSON" in err
    shown = Markup(output.read_text())
    assert "train.jsonl:5: not valid JSON" in shown.text
    assert "Problems: 1. These samples are not on the page." in shown.text
    with pytest.raises(SystemExit):
        main(["data", "show", str(path), "-o", str(tmp_path)])
    assert "cannot be written" in capsys.readouterr().err
