"""A checkpoint whose parts do not fit is refused before the engine starts: one line, the mismatch named."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from model.assembly import pack
from model.errors import QuartetError
from server.launcher import prepare
from server.settings import ServerSettings
from tests.support.serving import QUARTET, free_port
from tests.support.tiny import build_checkpoint


def edit(path: Path, change: Callable[[dict], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def wrong_language_model(folder: Path) -> Path:
    """Projectors trained for a language model of another width."""
    edit(folder / "checkpoint" / "config.json", lambda c: c["text_config"].update(hidden_size=128))
    return folder / "checkpoint"


def swapped_language_model(folder: Path) -> Path:
    """The recorded language model's place holds another one."""
    other = build_checkpoint(folder / "other", llm="qwen2", seed=9)
    shutil.rmtree(folder / "llm")
    shutil.copytree(other.parent / "llm", folder / "llm")
    return folder / "checkpoint"


def wrong_encoder(folder: Path) -> Path:
    """Projectors trained on features of another encoder."""
    encoder = {"family": "efficientnet", "variant": "lite0"}
    edit(folder / "checkpoint" / "config.json", lambda c: c["modalities"]["image"].update(encoder=encoder))
    return folder / "checkpoint"


def changed_encoder_weights(folder: Path) -> Path:
    """The encoder's file is not the one recorded."""
    state = load_file(folder / "image.safetensors")
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / "image.safetensors")
    return folder / "checkpoint"


def wrong_tokens(folder: Path) -> Path:
    """Projectors that give another number of tokens than configured."""
    edit(folder / "checkpoint" / "config.json", lambda c: c["modalities"]["audio"]["projector"].update(tokens=8))
    return folder / "checkpoint"


def damaged_pack(folder: Path) -> Path:
    """A packed directory that lost a tensor of its projector."""
    packed = pack(folder / "checkpoint", folder / "packed")
    state = load_file(packed / "projectors.safetensors")
    save_file(
        {n: t for n, t in state.items() if n != "projectors.image.second.bias"}, packed / "projectors.safetensors"
    )
    return packed


def nothing(folder: Path) -> Path:
    """No checkpoint at all."""
    return folder / "nowhere"


CASES: dict[Callable[[Path], Path], tuple[str, ...]] = {
    wrong_language_model: ("projectors.safetensors", "shape", "language model"),
    swapped_language_model: ("llm", "sha256"),
    wrong_encoder: ("projectors.safetensors", "image.first.weight", "encoder"),
    changed_encoder_weights: ("image.safetensors", "sha256"),
    wrong_tokens: ("projectors.safetensors", "audio.second"),
    damaged_pack: ("packed", "projectors.image.second.bias"),
    nothing: ("nowhere", "not a directory"),
}


@pytest.mark.parametrize("spoil", CASES, ids=lambda case: case.__name__)
def test_mismatch_is_named(spoil: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    build_checkpoint(tmp_path)
    with pytest.raises(QuartetError) as raised:
        prepare(ServerSettings(model=str(spoil(tmp_path))))
    for words in CASES[spoil]:
        assert words in str(raised.value)


@pytest.mark.parametrize("spoil", [wrong_language_model, nothing], ids=lambda case: case.__name__)
def test_refused_at_start(spoil: Callable[[Path], Path], tmp_path: Path) -> None:
    """As a user sees it: one line and a failing exit status, before any of vLLM is loaded."""
    build_checkpoint(tmp_path)
    command = [str(QUARTET), "serve", "--model", str(spoil(tmp_path)), "--port", str(free_port())]
    environment = os.environ | {"QUARTET_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("quartet serve: ")
    for words in CASES[spoil]:
        assert words in lines[0]
    assert done.stdout == ""


def test_impossible_settings_are_refused() -> None:
    command = [str(QUARTET), "serve", "--port", "99999"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "port: 99999 is outside 1..65535" in done.stderr
