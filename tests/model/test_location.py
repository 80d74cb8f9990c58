"""Where a named checkpoint is looked for, and what `quartet fetch` makes of it."""

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from model.assembly import pack
from model.cli import main
from model.errors import CheckpointError
from model.location import find


@pytest.mark.parametrize("model", ["nowhere", "./a/b", "a/b/c", "/nowhere/at/all"])
def test_neither_directory_nor_repository(model: str) -> None:
    with pytest.raises(CheckpointError, match="not a directory"):
        find(model)


def test_a_repository_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def snapshot(name: str) -> str:
        asked.append(name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert find("org/name") == tmp_path
    assert asked == ["org/name"]

    def offline(name: str) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"org/name: neither a local directory nor on the hub"):
        find("org/name")


def test_fetch_makes_checkpoints_and_packed_models_ready(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    packed = pack(tiny_checkpoint, tmp_path / "packed")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name: str(packed))
    for name in (str(tiny_checkpoint), str(packed), "org/name"):
        with pytest.raises(SystemExit) as end:
            main(["fetch", name])
        assert end.value.code in (0, None)
        shown = capsys.readouterr().out
        assert f"ready to serve: {tmp_path}" in shown
        assert ("language model:" in shown) == (name == str(tiny_checkpoint))
