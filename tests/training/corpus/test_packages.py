"""Stamps, sounds and emoji on a tiny package tree; fetching with programs that are replaced or missing."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from training.corpus import clips, emoji, fetch, samples, sounds, stamps, tuxpaint
from training.corpus.registry import Context, Plan
from training.corpus.words import THINGS


def context(cache: Path) -> Context:
    return Context(output=Path(), cache=cache)


def sources_of(plan: Plan, split: str) -> set[str]:
    """The package files a split is made of."""
    return {
        str(plan.jobs[medium.removeprefix("media/")].arguments["path"])
        for value in getattr(plan, split)
        for medium in samples.media(value)
    }


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("A bear.", "bear"),
        ("An hippopotamus.", "hippopotamus"),
        ("A camera.  Say Cheese!", "camera"),
        ("A peacock (a male peafowl).", "peacock"),
        ("A pair of sunglasses.", "sunglasses"),
        ("“Hospital”.", None),
        ("The red light means you must stop now.", None),
        ("Eat your broccoli!", None),
        ("", None),
    ],
)
def test_short_names(caption: str, name: str | None) -> None:
    assert tuxpaint.short_name(caption) == name


def test_captions_in_both_languages() -> None:
    assert tuxpaint.captions("A bee.\nde.utf8=Biene\nms.utf8=Seekor lebah.\n") == ("bee", "lebah")
    assert tuxpaint.captions("A bee.\n") == ("bee", None)


def test_kinds_by_folder() -> None:
    assert tuxpaint.kind_of("animals/birds/owl") == "bird"
    assert tuxpaint.kind_of("food/fruit/cartoon/apple") == "fruit"
    assert tuxpaint.kind_of("animals/insects/cartoon/spider2") is None
    assert tuxpaint.kind_of("space/moon/moon_full") is None


def test_stamps_hold_out_whole_stamps(cache: Path) -> None:
    plan = stamps.plan(context(cache))
    assert sources_of(plan, "train")
    assert sources_of(plan, "test")
    assert not sources_of(plan, "train") & sources_of(plan, "test")
    assert {value["meta"]["task"] for value in plan.train} == {"stamps/name", "stamps/kind"}
    assert {v["meta"]["label"] for v in plan.test if v["meta"]["task"] == "stamps/kind"} == {"bird", "mammal"}


def test_a_stamp_and_its_sound_are_on_the_same_side(cache: Path) -> None:
    pictures, noises = stamps.plan(context(cache)), sounds.plan(context(cache))
    stems = {split: {Path(path).with_suffix("") for path in sources_of(pictures, split)} for split in ("train", "test")}
    for split in ("train", "test"):
        assert {Path(path).with_suffix("") for path in sources_of(noises, split)} <= stems[split]
    assert noises.skipped["silent or broken sounds"] == 1


def test_stamps_with_equal_files_stay_together(cache: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(tuxpaint.package(cache).tree, tree)
    root = tree / "usr/share/tuxpaint/stamps/animals/birds"
    for name in ("owl0", "crow0", "duck0"):
        for suffix in (".txt", ".png"):
            shutil.copy(root / f"{name}{suffix}", root / f"twin-{name}{suffix}")
    split = {stamp.stem: stamp.split for stamp in tuxpaint.collect(tree)}
    for name in ("owl0", "crow0", "duck0"):
        assert split[f"animals/birds/{name}"] == split[f"animals/birds/twin-{name}"]


def test_sound_fingerprint_survives_another_encoding(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(16000) / 9) * np.repeat(rng.uniform(0.1, 0.9, 20), 800)
    soundfile.write(tmp_path / "a.wav", wave * 0.8, 16000)
    soundfile.write(tmp_path / "b.flac", wave * 0.8, 16000, subtype="PCM_24")
    soundfile.write(tmp_path / "c.wav", wave[::-1] * 0.8, 16000)
    marks = [sounds.fingerprint(tmp_path / name) for name in ("a.wav", "b.flac", "c.wav")]
    assert marks[0] == marks[1] != marks[2]
    (tmp_path / "d.ogg").write_bytes(b"no sound")
    assert sounds.fingerprint(tmp_path / "d.ogg") is None


def test_sound_clips_are_short_16_khz_mono(cache: Path) -> None:
    plan = sounds.plan(context(cache))
    for job in list(plan.jobs.values())[:12]:
        wave, rate = soundfile.read(io.BytesIO(job.render(**job.arguments)))
        assert rate == clips.RATE
        assert wave.ndim == 1
        assert 0.1 < len(wave) / rate <= 4.0
        assert 0.02 < clips.rms(wave) < 0.2


def test_common_emoji_are_tested_on_another_artist(cache: Path) -> None:
    plan = emoji.plan(context(cache))
    common = {
        split: [value for value in getattr(plan, split) if value["meta"]["task"] == "emoji/common"]
        for split in ("train", "test")
    }
    assert {value["meta"]["label"] for value in common["test"]} == set(THINGS)
    assert {value["meta"]["licence"] for value in common["test"]} == {"CC-BY-4.0"}
    assert all("google" in samples.media(value)[0] for value in common["train"])
    assert not sources_of(plan, "train") & sources_of(plan, "test")
    picture = Image.open(io.BytesIO(stamps.render(path=next(iter(sources_of(plan, "test"))), split="test", seed=1)))
    assert 256 <= picture.width == picture.height <= 320


@pytest.mark.parametrize(("source", "task"), [(stamps, "stamps/kind"), (emoji, "emoji/kind"), (emoji, "emoji/common")])
def test_kinds_and_things_are_asked_in_both_languages_in_training(
    cache: Path, source: ModuleType, task: str
) -> None:  # fmt: skip
    plan = source.plan(context(cache))
    asked: dict[str, dict[str, list[str]]] = {"train": defaultdict(list), "test": defaultdict(list)}
    for split, pictures in asked.items():
        for value in getattr(plan, split):
            if value["meta"]["task"] == task:
                pictures[samples.media(value)[0]].append(value["meta"]["language"])
    assert {tuple(sorted(languages)) for languages in asked["train"].values()} == {("en", "ms")}
    assert ("en",) in map(tuple, asked["test"].values())
    if task.endswith("/kind"):
        assert {len(languages) for languages in asked["test"].values()} == {1}


def test_npm_checks_the_tarball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def pack(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command)
        with tarfile.open(Path(command[-1]) / "a.tgz", "w:gz") as tar:
            member = tarfile.TarInfo("package/data.json")
            member.size = 2
            tar.addfile(member, io.BytesIO(b"{}"))
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(fetch.subprocess, "run", pack)
    with pytest.raises(RuntimeError, match=r"a@1.0: the tarball has sha256 .* expected 00; not used"):
        fetch.npm("a", "1.0", tmp_path, licence="MIT", sha256="00")
    monkeypatch.setattr(fetch, "_sha256", lambda _: "00")
    package = fetch.npm("a", "1.0", tmp_path, licence="MIT", sha256="00")
    assert (package.tree / "package/data.json").read_text() == "{}"
    assert "--ignore-scripts" in calls[0]
    assert fetch.npm("a", "1.0", tmp_path, licence="MIT", sha256="00").record()["version"] == "1.0"
    assert len(calls) == 2


def test_missing_program_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match=r"apt-get is missing.*dpkg-deb -x"):
        fetch.debian("stamps", tmp_path, licence="GPL-2.0-only")


def test_empty_tree_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no stamps under .*; remove"):
        tuxpaint.collect(tmp_path / "tree")
