"""The builder: schema, split, limit, repetition, interruption, reports and errors. Nothing here needs the network."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.corpus import build, builder, registry, samples, scenes
from training.corpus.registry import Context, Job, Plan

LIMIT = 40
# All but speech, which takes long.
MADE = ["scenes", "stamps", "sounds", "emoji", "dialogs", "pairs"]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    output = tmp_path_factory.mktemp("corpus")
    build(output, sources=MADE, limit=LIMIT, cache=cache)
    return output


@pytest.mark.parametrize("source", MADE)
def test_samples_are_valid_and_their_media_exist(corpus: Path, source: str) -> None:
    ids = set()
    for split in ("train", "test"):
        values = samples.read(corpus / source / f"{split}.jsonl")
        assert 0 < len(values) <= LIMIT
        for value in values:
            samples.check(value)
            ids.add(value["id"])
            assert value["meta"]["task"].startswith(f"{source}/")
            for medium in samples.media(value):
                assert (corpus / source / medium).is_file()
                assert ("label" in value["meta"]) <= (len(samples.media(value)) == 1)
    assert len(ids) == sum(len(samples.read(corpus / source / f"{split}.jsonl")) for split in ("train", "test"))


def test_no_test_medium_is_in_train(corpus: Path) -> None:
    seen: dict[str, set[str]] = {"train": set(), "test": set()}
    for split, digests in seen.items():
        for path in corpus.glob(f"*/{split}.jsonl"):
            for value in samples.read(path):
                for medium in samples.media(value):
                    digests.add(hashlib.sha256((path.parent / medium).read_bytes()).hexdigest())
    assert seen["train"]
    assert seen["test"]
    assert not seen["train"] & seen["test"]


def test_every_source_says_where_it_comes_from(corpus: Path) -> None:
    for source in MADE:
        record = json.loads((corpus / source / "source.json").read_text())
        assert record["provenance"]["licence"]
        for package in record["provenance"]["packages"]:
            assert {"name", "version", "sha256", "licence", "origin"} <= set(package)


def test_second_run_does_nothing(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    monkeypatch.setattr(builder, "_render", lambda *_: pytest.fail("rendered again"))
    report = build(corpus, sources=MADE, limit=LIMIT, cache=cache)
    assert not any(source.made for source in report.sources.values())
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    assert "already there" in str(report)


def test_same_seed_same_bytes_other_seed_other_corpus(tmp_path: Path, cache: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build(tmp_path / name, sources=["scenes", "stamps"], limit=6, seed=seed, cache=cache)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a" / "scenes" / "media") != digest(tmp_path / "c" / "scenes" / "media")


def test_interrupted_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    draw = scenes.render

    def unreliable(**arguments: object) -> bytes:
        made.append(1)
        if len(made) == 5:
            raise KeyboardInterrupt
        return draw(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scenes, "render", unreliable)
    monkeypatch.setattr(builder, "_INLINE", 10_000)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, sources=["scenes"], limit=5)
    assert not (tmp_path / "scenes").exists()
    report = build(tmp_path, sources=["scenes"], limit=5)
    assert len(made) == 1 + report.sources["scenes"].media
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_other_arguments_replace_a_source(tmp_path: Path) -> None:
    build(tmp_path, sources=["scenes"], limit=5)
    report = build(tmp_path, sources=["scenes"], limit=8)
    assert report.sources["scenes"].made
    assert report.sources["scenes"].train == 8
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_limit_keeps_all_tasks(tmp_path: Path) -> None:
    report = build(tmp_path, sources=["scenes"], limit=10)
    assert {task: train for task, (train, _) in report.sources["scenes"].tasks.items()} == {
        f"scenes/{task}": 2 for task in ("shape", "colour", "position", "count", "describe")
    }


def test_medium_of_train_is_dropped_from_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(name: str) -> samples.Sample:
        return samples.sample(
            [samples.user(samples.image(f"media/{name}")), samples.answer("x")],
            task="scenes/shape", language="en", source="scenes", licence="CC0-1.0",
        )  # fmt: skip

    jobs = {name: Job(render=bytes, arguments={}) for name in ("a.png", "b.png")}
    plan = Plan(train=[one("a.png")], test=[one("b.png")], jobs=jobs)
    monkeypatch.setattr(builder, "load", lambda _: lambda __: plan)
    report = build(tmp_path, sources=["scenes"])
    assert report.sources["scenes"].test == 0
    assert report.sources["scenes"].skipped == {"test samples whose medium is also in train": 1}


def test_errors_name_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'pictures'; choose from scenes"):
        build(tmp_path, sources=["pictures"])
    with pytest.raises(ValueError, match="limit: must be at least 1, got 0"):
        build(tmp_path, sources=["scenes"], limit=0)
    with pytest.raises(RuntimeError, match="dialogs: nothing to build"):
        build(tmp_path, sources=["dialogs"])


def test_check_names_sample_and_fault() -> None:
    value = samples.sample(
        [samples.user(samples.image("media/a.png")), samples.answer(" ")],
        task="scenes/shape", language="en", source="scenes", licence="CC0-1.0",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"messages\[1\].content must be a text"):
        samples.check(value)
    value["messages"][1]["content"] = "red"
    value["meta"]["language"] = "xx"
    with pytest.raises(ValueError, match=r"meta\.language must be one of en, ms"):
        samples.check(value)


def test_importing_the_package_is_light() -> None:
    code = "import sys, training.corpus; print([m for m in ('numpy', 'PIL', 'torch', 'soundfile') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_registered_source_has_a_plan() -> None:
    for name in registry.SOURCES:
        assert callable(registry.load(name))
    assert Context(output=Path(), cache=Path()).seed == 0
