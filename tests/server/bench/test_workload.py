"""What `quartet bench` asks: decided by the seed, repeated media as often as wanted, and only ones that were sent."""

import base64
import io
import json
from pathlib import Path

import pytest
import soundfile
from PIL import Image

from model.errors import ConfigurationError
from server.bench.media import picture, sound
from server.bench.plan import Level, Plan, Target
from server.bench.workload import Asked, Workload

ONE = Level(concurrency=1)
TARGET = Target(name="server", url="http://127.0.0.1:1/v1")


def plan(**fields: object) -> Plan:
    return Plan(levels=(ONE,), **fields)  # type: ignore[arg-type]


def asked(workload: Workload, level: Level = ONE, index: int = 0) -> list[list[Asked]]:
    return list(workload.level(index, level))


def test_blocks() -> None:
    workload = Workload(plan(requests=10, block=4, warm_up=3))
    assert [len(block) for block in asked(workload)] == [3, 4, 4, 2]
    assert [len(block) for block in asked(Workload(plan(requests=2)))] == [4, 1, 1]
    assert plan(requests=500).block_of(Level(concurrency=16)) == 64
    assert plan(requests=500).block_of(Level(rate=2.0)) == 32


def test_the_seed_decides_everything() -> None:
    first, second = (asked(Workload(plan(images=2, repeat_share=0.5, requests=20))) for _ in range(2))
    assert first == second
    other = asked(Workload(plan(images=2, repeat_share=0.5, requests=20, seed=1)))
    assert first != other
    media = {medium for block in first for one in block for medium in one.media}
    assert not media & {medium for block in other for one in block for medium in one.media}
    # Another level has new media too.
    further = asked(Workload(plan(images=2, repeat_share=0.5, requests=20)), index=1)
    assert not media & {medium for block in further for one in block for medium in one.media}


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
def test_repeated_media(share: float) -> None:
    workload = Workload(plan(images=8, sounds=1, repeat_share=share, requests=50, block=5, warm_up=2))
    seen: set[tuple[str, int]] = set()
    repeated = total = 0
    for number, block in enumerate(asked(workload)):
        new: set[tuple[str, int]] = set()
        for one in block:
            assert [modality for modality, _ in one.media] == ["image"] * 8 + ["audio"]
            known = [medium in seen for medium in one.media]
            assert sum(known) == one.repeated
            fresh = {medium for medium, is_known in zip(one.media, known, strict=True) if not is_known}
            # What is not known to be answered is nowhere else either.
            assert len(fresh) == known.count(False)
            assert not fresh & new
            new |= fresh
            if number:
                repeated += one.repeated
                total += len(one.media)
        seen |= new
    assert total == 450
    assert repeated == int(400 * share) + int(50 * share)


def test_bodies() -> None:
    workload = Workload(plan(images=1, sounds=1, requests=1, output_tokens=7, text_words=5, image_size=(64, 48)))
    ((one,),) = asked(workload)[1:]
    body = json.loads(workload.body(one, TARGET, "m", {}))
    assert (body["model"], body["max_tokens"], body["ignore_eos"], body["stream"]) == ("m", 7, True, True)
    shown, heard, said = body["messages"][0]["content"]
    head, _, data = shown["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (64, 48)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(heard["input_audio"]["data"])))
    assert (len(samples), rate, heard["input_audio"]["format"]) == (32_000, 16_000, "wav")
    assert len(said["text"].split(".")[0].split()) == 5
    named = workload.body(one, Target(name="s", url=TARGET.url, send="file"), "m", dict.fromkeys(one.media, "file-7"))
    parts = json.loads(named)["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["file", "file", "text"]
    assert parts[0]["file"] == {"file_id": "file-7"}


def test_media() -> None:
    assert picture(3, (64, 48)).data == picture(3, (64, 48)).data != picture(4, (64, 48)).data
    assert sound(3, 0.1).data == sound(3, 0.1).data != sound(4, 0.1).data
    # As a photograph of this size.
    assert 30_000 < len(picture(0, (640, 480)).data) < 150_000


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("b.jpg", "inner/a.PNG"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    workload = Workload(plan(images=1, folder=tmp_path, requests=2))
    assert workload.medium("image", 0).mime == "image/jpeg"
    assert workload.medium("image", 1).mime == "image/png"
    assert workload.medium("image", 2) == workload.medium("image", 0)
    with pytest.raises(ConfigurationError, match="no file for audio"):
        Workload(plan(sounds=1, folder=tmp_path))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"requests": 0}, "requests: 0 is outside 1..10000000"),
        ({"repeat_share": 1.5}, "repeat_share: 1.5 is outside 0.0..1.0"),
        ({"image_size": (0, 4)}, "image_size: 0 is outside 1..16384"),
    ],
)
def test_impossible_plans(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        plan(**fields)
    assert str(raised.value) == message


def test_impossible_loads_and_targets() -> None:
    with pytest.raises(ConfigurationError, match="either a concurrency or a rate"):
        Level(concurrency=1, rate=1.0)
    with pytest.raises(ConfigurationError, match="concurrency: 0 is outside"):
        Level(concurrency=0)
    with pytest.raises(ConfigurationError, match="begins with http"):
        Target(name="server", url="localhost:8000")
