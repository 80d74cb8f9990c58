"""An adapter's files: what is accepted, what is refused and in which words, and that the copy is what is served."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.sources import sha256_of
from server.adapters.files import AdapterError, inside, take
from server.adapters.layers import linear_layers
from tests.support.adapters import TARGETS, train_adapter, write_adapter

QUERY = "model.layers.0.self_attn.q_proj"
LAYERS = {QUERY: (6, 8)}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("QUARTET_CACHE", str(folder))
    return folder


def tensors(rank: int = 2) -> dict[str, torch.Tensor]:
    return {f"{QUERY}:A": torch.ones(rank, 6), f"{QUERY}:B": torch.ones(8, rank)}


def check(source: Path, base: Path | None = None) -> object:
    return take(source, LAYERS, max_rank=4, max_bytes=1 << 16, base=base)


def test_a_copy_by_content(tmp_path: Path, cache: Path) -> None:
    source = write_adapter(tmp_path / "one", tensors())
    adapter = take(source, LAYERS, max_rank=4, max_bytes=1 << 16)
    assert adapter.rank == 2
    assert adapter.sha256 == sha256_of(source / WEIGHTS)
    assert adapter.directory.parent == cache / "adapters"
    assert sorted(path.name for path in adapter.directory.iterdir()) == [CONFIG, WEIGHTS]
    # The same content is the same copy; other content is another one.
    assert take(write_adapter(tmp_path / "two", tensors()), LAYERS, max_rank=4, max_bytes=1 << 16) == adapter
    other = take(write_adapter(tmp_path / "two", tensors(), r=2, lora_alpha=8), LAYERS, max_rank=4, max_bytes=1 << 16)
    assert other.directory != adapter.directory
    assert other.sha256 == adapter.sha256
    # Nothing else is taken along, and nothing is left behind.
    (source / "adapter_model.bin").write_bytes(b"pickle")
    check(source)
    assert len(list((cache / "adapters").iterdir())) == 2


def spoil(name: str, data: bytes | None) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        (source / name).unlink()
        if data is not None:
            (source / name).write_bytes(data)

    return change


def hold(**given: torch.Tensor) -> Callable[[Path], None]:
    """Other tensors, `__` for a dot."""
    return lambda source: save_file({name.replace("__", "."): one for name, one in given.items()}, source / WEIGHTS)


def configure(**fields: object) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        (source / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2} | fields))

    return change


A = "base_model__model__model__layers__0__self_attn__q_proj__lora_A__weight"
B = A.replace("lora_A", "lora_B")
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no configuration": (spoil(CONFIG, None), f"{CONFIG}: not there"),
    "no weights": (spoil(WEIGHTS, None), f"{WEIGHTS}: not there"),
    "no JSON": (spoil(CONFIG, b"{"), f"{CONFIG}: not JSON"),
    "nested": (spoil(CONFIG, b"[" * 60_000), f"{CONFIG}: not JSON"),
    "a long configuration": (spoil(CONFIG, b" " * (1 << 17)), "131072 bytes, at most 65536"),
    "another method": (configure(peft_type="IA3"), "not the configuration of a LoRA adapter"),
    "no rank": (configure(r="2"), "r must be a whole number"),
    "whole layers": (configure(modules_to_save=["lm_head"]), "modules_to_save"),
    "declared rank": (configure(r=64), "its rank is 64, at most 4 is served"),
    "garbage": (spoil(WEIGHTS, b"garbage"), "not a safetensors file"),
    "a header that lies": (spoil(WEIGHTS, (1 << 60).to_bytes(8, "little") + b"{}"), "not a safetensors file"),
    "too large": (spoil(WEIGHTS, b"0" * (1 << 17)), "131072 bytes, at most 65536"),
    "empty": (hold(), "is empty"),
    "other tensors": (hold(lm_head=torch.ones(2)), "lm_head is no part of a LoRA adapter"),
    "another layer": (
        hold(**{A.replace("q_proj", "o_proj"): torch.ones(2, 6), B.replace("q_proj", "o_proj"): torch.ones(8, 2)}),
        "the language model has no linear layer model.layers.0.self_attn.o_proj",
    ),
    "half of it": (hold(**{A: torch.ones(2, 6)}), "has A [2, 6], expected A [r, 6] and B [8, r]"),
    "another size": (hold(**{A: torch.ones(2, 7), B: torch.ones(8, 2)}), "has A [2, 7] and B [8, 2], expected"),
    "two ranks": (hold(**{A: torch.ones(2, 6), B: torch.ones(8, 3)}), "has A [2, 6] and B [8, 3], expected"),
    "rank nothing": (hold(**{A: torch.ones(0, 6), B: torch.ones(8, 0)}), "has A [0, 6] and B [8, 0], expected"),
    "tensor's rank": (hold(**{A: torch.ones(5, 6), B: torch.ones(8, 5)}), "its rank is 5, at most 4 is served"),
    "not a number": (hold(**{A: torch.full((2, 6), float("nan")), B: torch.ones(8, 2)}), "no finite number"),
    "whole numbers": (hold(**{A: torch.ones(2, 6, dtype=torch.int8), B: torch.ones(8, 2)}), "no finite number"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str, tmp_path: Path, cache: Path) -> None:
    change, words = BAD[case]
    source = write_adapter(tmp_path / "one", tensors())
    change(source)
    with pytest.raises(AdapterError) as raised:
        check(source)
    assert words in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert not any((cache / "adapters").glob("*")) if (cache / "adapters").exists() else True


def test_special_files(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "one", tensors())
    (source / CONFIG).unlink()
    os.mkfifo(source / CONFIG)
    with pytest.raises(AdapterError, match="no regular file"):
        check(source)


def test_paths_stay_inside(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write_adapter(base / "team" / "one", tensors())
    outside = write_adapter(tmp_path / "outside", tensors())
    (base / "link").symlink_to(outside)
    (base / "loop").symlink_to(base / "loop")
    (base / "near").symlink_to("team/one")
    assert inside(base, "team/one") == base / "team" / "one"
    assert inside(base, str(base / "team" / "one")) == base / "team" / "one"
    assert inside(base, "near") == base / "team" / "one"
    for path in ("../outside", str(outside), "link", "loop", "team/../../outside", "none", "a\0b", "x" * 5000, "~"):
        with pytest.raises(AdapterError, match="no such directory"):
            inside(base, path)
    with pytest.raises(AdapterError, match="no such directory"):
        inside(tmp_path / "missing", ".")


def test_files_stay_inside(tmp_path: Path) -> None:
    base = tmp_path / "base"
    source = write_adapter(base / "one", tensors())
    secret = write_adapter(tmp_path / "outside", tensors()) / WEIGHTS
    (source / WEIGHTS).unlink()
    (source / WEIGHTS).symlink_to(secret)
    with pytest.raises(AdapterError, match="leads out of the directory"):
        check(source, base)
    # What an operator names in the settings may lie anywhere.
    check(source)


def test_what_peft_writes_fits_the_served_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    from model.configuration import QuartetConfig

    layers = linear_layers(QuartetConfig.from_pretrained(tiny_checkpoint))
    assert layers["model.layers.1.mlp.down_proj"] == (128, 64)
    assert "lm_head" not in layers
    train_adapter(tiny_checkpoint.parent / "llm", tmp_path / "one", seed=1)
    adapter = take(tmp_path / "one", layers, max_rank=4, max_bytes=1 << 20)
    assert adapter.rank == 4
    assert set(TARGETS) <= {name.rsplit(".", 1)[1] for name in layers}
