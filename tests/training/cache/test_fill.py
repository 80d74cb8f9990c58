"""Filling the cache: shared by processes, killed at any moment, on a full disk, in little memory."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model.errors import DataError
from tests.training.cache.conftest import Make
from tests.training.cache.toys import Counter, ToyConfig, anonymous_bytes, draw_many, exit_code, in_child, leftovers
from training.cache import FeatureCache, fill
from training.data import MediaRef

MEBIBYTE = 1 << 20


def right(cache: FeatureCache, references: list[MediaRef]) -> bool:
    config = cache.config
    assert isinstance(config, ToyConfig)
    return all(torch.equal(cache.get(reference), config.features(reference.path)) for reference in references)


def test_two_processes_share_the_work(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has media of its own and most in common; every medium is encoded by one of them."""
    monkeypatch.setattr(fill, "WINDOW", 4)
    pictures = draw_many(tmp_path / "media", 120)
    parts = [pictures[:110], pictures[10:]]

    def work(number: int) -> None:
        counter, cache = Counter(seconds=0.004), make()
        (tmp_path / f"ready-{number}").touch()
        while not (tmp_path / f"ready-{1 - number}").exists():
            time.sleep(0.002)
        encoded = cache.ensure(parts[number], counter)
        assert right(cache, parts[number]), "this run's own view, the other's work included"
        (tmp_path / f"{number}.json").write_text(json.dumps([encoded, counter.media]))

    children = [in_child(lambda number=number: work(number)) for number in range(2)]
    assert [exit_code(child) for child in children] == [0, 0]
    counts = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2)]
    assert all(encoded == media for encoded, media in counts)
    assert sum(encoded for encoded, _ in counts) == len(pictures)
    assert min(encoded for encoded, _ in counts) > 10, "neither encoded only what the other has not"
    cache = make()
    assert not cache.missing(pictures)
    assert right(cache, pictures)
    assert not list(leftovers(cache.folder))


def test_killed_at_any_moment(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "WINDOW", 4)
    monkeypatch.setattr(fill, "SHARD_SECONDS", 0.01)
    pictures = draw_many(tmp_path / "media", 60)
    generator, kills, seen = random.Random(0), 0, 0
    for _ in range(100):
        # Some media after it began, and a little later: in the middle of anything.
        told, tell = os.pipe()
        counter = Counter(seconds=0.002, seen=lambda tell=tell: os.write(tell, b"."))
        child = in_child(lambda counter=counter: make().ensure(pictures, counter))
        os.close(tell)
        for _ in range(generator.randint(3, 8)):
            os.read(told, 1)
        time.sleep(generator.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        code = exit_code(child)
        os.close(told)
        cache = make()
        assert len(cache) >= seen, "what was published stays"
        seen = len(cache)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 1
    assert seen == len(pictures)
    assert right(make(), pictures)
    assert not list(leftovers(make().folder))


def test_a_run_takes_over_what_another_one_died_on(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "WINDOW", 4)
    monkeypatch.setattr(fill, "POLL", 0.01)
    pictures = draw_many(tmp_path / "media", 12)
    child = in_child(lambda: make().ensure(pictures, Counter(seconds=60)))
    while not list((tmp_path / "features").glob("*/runs/*.json")):
        time.sleep(0.01)
    began = time.monotonic()
    threading.Timer(0.3, os.kill, (child, signal.SIGKILL)).start()
    cache = make()
    assert cache.ensure(pictures, Counter()) == len(pictures)
    assert time.monotonic() - began > 0.3, "the media the other one held were waited for"
    assert exit_code(child) == -signal.SIGKILL
    assert right(cache, pictures)
    assert not list(leftovers(cache.folder))


def test_an_interrupted_run_keeps_what_it_has_encoded(
    make: Make, pictures: list[MediaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "WINDOW", 2)
    with pytest.raises(KeyboardInterrupt):
        make().ensure(pictures, Counter(limit=5))
    counter = Counter()
    assert make().ensure(pictures, counter) == counter.media == len(pictures) - 4
    assert right(make(), pictures)
    assert not list(leftovers(make().folder))


def test_what_a_dead_run_left_goes_even_if_nothing_is_missing(make: Make, pictures: list[MediaRef]) -> None:
    cache = make()
    cache.ensure(pictures, Counter())
    for name in ("runs/0123.lock", "runs/0123.json", ".partial-0123-1", ".partial-4567"):
        (cache.folder / name).touch()
    assert make().ensure(pictures, Counter()) == 0
    assert not list(leftovers(cache.folder))


def test_two_views_of_one_cache(make: Make, pictures: list[MediaRef]) -> None:
    first, second = make(), make()
    assert first.ensure(pictures, Counter()) == len(pictures)
    counter = Counter()
    assert second.ensure(pictures, counter) == counter.media == counter.built == 0
    assert right(second, pictures)


def test_memory_holds_less_than_a_shard(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing and reading four shards of 16 MiB; what counts is memory that the system cannot drop."""
    monkeypatch.setattr(fill, "SHARD_BYTES", 16 * MEBIBYTE)
    config = ToyConfig(vectors=256, width=1024)  # 512 KiB a medium
    pictures = draw_many(tmp_path / "media", 4 * 32)
    cache = make(config)
    make(config).ensure(pictures[:2], Counter(config))
    before, peak, stop = anonymous_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.is_set():
            peak = max(peak, anonymous_bytes())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert cache.ensure(pictures, Counter(config)) == len(pictures) - 2
        written = peak - before
        total = sum(float(cache.get(reference).sum()) for reference in pictures)
    finally:
        stop.set()
        watcher.join()
    assert len(list(cache.folder.glob("shard-*"))) >= 4
    assert written < 16 * MEBIBYTE
    assert peak - before < 16 * MEBIBYTE
    assert total == pytest.approx(256 * 1024 * sum(float(config.features(r.path)[0, 0]) for r in pictures), rel=1e-4)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system; the limit of a file's size is tested instead")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_and_what_is_cached_stays(small_disk: Path, tmp_path: Path) -> None:
    config = ToyConfig(vectors=None, width=8192)  # 64 KiB a medium
    pictures = draw_many(tmp_path / "media", 40)
    cache = FeatureCache(small_disk, config, "0" * 64)
    with pytest.raises(DataError) as caught:
        cache.ensure(pictures, Counter(config))
    assert str(caught.value).startswith(f"{cache.folder}: no space left for features (No space left on device); ")
    assert "--prune" in str(caught.value)
    assert "QUARTET_CACHE" in str(caught.value)
    assert not list(leftovers(cache.folder))
    kept = len(FeatureCache(small_disk, config, "0" * 64))
    assert f"{kept} media are cached and stay so" in str(caught.value)
    assert 8 <= kept < 16
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = FeatureCache(small_disk, config, "0" * 64)
    assert again.ensure(pictures, Counter(config)) == len(pictures) - kept
    assert right(again, pictures)


def test_a_cache_that_may_only_be_read_is_read(small_disk: Path, pictures: list[MediaRef]) -> None:
    FeatureCache(small_disk, ToyConfig(), "0" * 64).ensure(pictures, Counter())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    cache = FeatureCache(small_disk, ToyConfig(), "0" * 64)
    assert cache.ensure(pictures, Counter()) == 0
    assert right(cache, pictures)
    with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\); set QUARTET_CACHE"):
        FeatureCache(small_disk, ToyConfig(), "1" * 64)


def test_a_limit_of_the_file_size_is_named(make: Make, tmp_path: Path) -> None:
    """The same through a limit that needs no rights: the system refuses the write that goes beyond."""
    config = ToyConfig(vectors=None, width=8192)
    pictures = draw_many(tmp_path / "media", 40)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, resource.RLIM_INFINITY))
        with pytest.raises(DataError, match=r"no space left for features \(File too large\); 1\d media are cached"):
            make(config).ensure(pictures, Counter(config))

    assert exit_code(in_child(work)) == 0
    assert not list(leftovers(make(config).folder))
    cache = make(config)
    assert cache.ensure(pictures, Counter(config)) == len(pictures) - 10
    assert right(cache, pictures)


def test_what_cannot_fit_is_refused_before_anything_is_encoded(
    make: Make, pictures: list[MediaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7 * 64 - 1))
    counter = Counter()
    with pytest.raises(DataError, match=r"features of 7 image media take 0\.0 MiB, 0\.0 MiB are free; make space"):
        make().ensure(pictures, counter)
    assert counter.built == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=7 * 64))
    assert make().ensure(pictures, counter) == 7


def test_progress_counts_every_medium_once(
    make: Make, pictures: list[MediaRef], capsys: pytest.CaptureFixture[str]
) -> None:
    pictures[2].path.write_bytes(b"no picture")
    make().ensure(pictures, Counter(), on_problem="skip")
    last = capsys.readouterr().err.split("\r")[-1]
    assert "encode image: 100%" in last
    assert "7/7" in last
    assert "media/s" in last
