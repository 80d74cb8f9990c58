"""`quartet data cache`: filling ahead of training, and what it shows, checks, repairs and prunes."""

import json
from pathlib import Path

import pytest

from model.cli import main
from tests.training.cache.toys import leftovers
from tests.training.parts import recipe_values, write_recipe
from training import parts as parts_module
from training.cache import inventory
from training.parts import feature_folder, open_cache, prepare
from training.recipe import read_recipe


@pytest.fixture(scope="module")
def recipe(parts: Path) -> Path:
    return write_recipe(parts / "cache.yaml", recipe_values(parts))


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test alone; gives the folder of features."""
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    return feature_folder()


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as done:
        main(["data", "cache", *arguments])
    output = capsys.readouterr()
    return int(done.value.code or 0), output.out, output.err


def test_fill_show_damage_repair(
    recipe: Path, corpus: Path, cached: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(capsys) == (0, f"{cached}: nothing is cached\n", "")
    fill = (str(corpus), "--recipe", str(recipe))
    code, out, _ = command(capsys, *fill)
    assert code == 0
    assert out.splitlines()[:2] == [
        "audio: 16 media, 16 encoded now, 0 unusable",
        "image: 24 media, 24 encoded now, 0 unusable",
    ]
    clip, whisper = (line.split() for line in out.splitlines()[3:])
    assert clip[0].startswith("clip-")
    assert clip[1:8] == ["image", "1", "x", "32", "24", "1", "0"]
    assert whisper[1:8] == ["audio", "1", "x", "32", "16", "1", "0"]
    # Training finds everything.
    monkeypatch.setattr(parts_module, "build_encoder", None)
    prepared = prepare(read_recipe(recipe), corpus)
    monkeypatch.undo()
    monkeypatch.setenv("QUARTET_CACHE", str(cached.parent))
    assert {name: features.stack(prepared.media(name)).shape[0] for name, features in prepared.caches.items()} == {
        "image": 24,
        "audio": 16,
    }
    assert command(capsys, "--verify")[0] == 0
    (shard,) = cached.glob("clip-*/shard-*")
    data = bytearray(shard.read_bytes())
    data[1500] ^= 1
    shard.write_bytes(data)
    code, out, err = command(capsys, "--verify")
    assert code == 1
    assert out.startswith(f"{shard}: this file of cached features is damaged (row ")
    assert "quartet: 1 files of cached features are damaged; run `quartet data cache --repair`" in err
    code, out, _ = command(capsys, "--repair", *fill)
    assert code == 0
    assert f"removed {shard}: " in out
    assert "image: 24 media, 24 encoded now" in out
    assert "audio: 16 media, 0 encoded now" in out
    shard.write_bytes(b"")
    code, out, _ = command(capsys)
    assert (code, out.splitlines()[1].split()[5:8]) == (0, ["0", "1", "1"]), "the table shows it"


def test_prune_removes_what_is_not_used(
    recipe: Path, corpus: Path, cached: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(capsys, str(corpus), "--recipe", str(recipe))
    old = cached / "efficientnet-732008dfa8768fef"
    old.mkdir()
    (old / "shard-0.safetensors").write_bytes(bytes(3 << 20))
    (clip,) = cached.glob("clip-*")
    other = cached / f"clip-{'0' * 16}"
    other.mkdir()
    description = json.loads((clip / "encoder.json").read_text())
    (other / "encoder.json").write_text(json.dumps({**description, "version": 0}))
    unknown = cached / f"eye-{'0' * 16}"
    unknown.mkdir()
    (unknown / "encoder.json").write_text(json.dumps({**description, "family": "eye"}))
    (clip / ".partial-0123-1").write_bytes(bytes(1 << 20))
    assert [entry.folder for entry in inventory.entries(cached) if entry.config is None] == [other, old, unknown]
    _, out, _ = command(capsys, "--prune")
    assert f"removed {old}: 3.0 MiB" in out
    assert f"removed {clip}/(what dead runs left): 1.0 MiB" in out
    assert [path.name.partition("-")[0] for path in sorted(cached.glob("*-*"))] == ["clip", "whisper"]
    assert not list(leftovers(clip))
    assert "removed" not in command(capsys, "--prune")[1]
    assert (
        len(open_cache(recipe_values(recipe.parent)["modalities"]["image"]["encoder"], description["weights_sha256"]))
        == 24
    )


def test_unusable_media_are_listed_or_fatal(
    recipe: Path, corpus: Path, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.loads((corpus / "scenes" / "train.jsonl").read_text().splitlines()[0])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    line["messages"][0]["content"][0]["image_url"]["url"] = "bad.png"
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n")
    code, _, err = command(capsys, str(tmp_path / "train.jsonl"), "--recipe", str(recipe))
    assert code == 1
    assert f"1 image media cannot be used: {tmp_path / 'bad.png'}: not a picture" in err
    code, out, _ = command(capsys, str(tmp_path / "train.jsonl"), "--recipe", str(recipe), "--skip")
    assert code == 0
    assert f"image: 1 media, 0 encoded now, 1 unusable\n  {tmp_path / 'bad.png'}: not a picture" in out


def test_paths_and_recipe_go_together(cached: Path, capsys: pytest.CaptureFixture[str], corpus: Path) -> None:
    for arguments in ((str(corpus),), ("--recipe", "demo")):
        code, _, err = command(capsys, *arguments)
        assert (code, "give both PATHS and --recipe" in err) == (1, True)
