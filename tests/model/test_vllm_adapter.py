"""The adapter's own parts; that the whole equals the reference is tested end to end."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from model.checkpoint import Checkpoint
from model.errors import CheckpointError
from model.media import Sound
from model.vllm_adapter.tower import Tower
from tests.support.tiny import build_checkpoint, picture, sound


@pytest.fixture(scope="module")
def towers(tiny_checkpoint: Path) -> dict[str, Tower]:
    """Towers of the tiny checkpoint, its weights loaded."""
    checkpoint = Checkpoint.open(tiny_checkpoint)
    found = {
        name: Tower(spec, checkpoint.config.hidden_size) for name, spec in checkpoint.config.modality_specs.items()
    }
    for name, tower in found.items():
        tower.load(state_of(checkpoint, name))
    return found


def state_of(checkpoint: Checkpoint, name: str) -> dict[str, torch.Tensor]:
    projector = {key: value for key, value in checkpoint.projector_state().items() if key.startswith(f"{name}.")}
    return {f"encoder.{key}": value for key, value in checkpoint.encoder_state(name).items()} | {
        f"projector.{key.partition('.')[2]}": value for key, value in projector.items()
    }


def test_towers_give_the_reference_s_tokens(tiny_checkpoint: Path, towers: dict[str, Tower]) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    reference = checkpoint.load()
    specs = checkpoint.config.modality_specs
    media = {
        "image": [picture(seed) for seed in range(20)],
        "audio": [Sound(sound(seed, 0.2 + 0.1 * (seed % 3)), 16_000) for seed in range(20)],
    }
    for name, items in media.items():
        inputs = specs[name].encoder.preprocess_many(items)
        tokens = towers[name](inputs)
        expected = reference.project(name, torch.stack(reference.encode(name, inputs)))
        assert len(tokens) == 20
        assert tokens[0].shape == (4, 64)
        torch.testing.assert_close(torch.stack(tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "tokens"),
    [
        (
            {
                "image": "siglip patches",
                "audio": "whisper frames",
                "sequence_projectors": {
                    "image": {"type": "mlp2x_gelu", "shuffle": 2},
                    "audio": {"type": "conv", "kernel": 8, "stride": 3},
                },
            },
            {"image": 4, "audio": 15},
        ),
        (
            {
                "image": "siglip patches",
                "audio": "whisper frames",
                "sequence_projectors": {"image": {"type": "linear"}, "audio": {"type": "linear", "tokens": 100}},
            },
            {"image": 16, "audio": 100},
        ),
        ({"image": "imagebind_image", "audio": "imagebind_audio"}, {"image": 4, "audio": 4}),
    ],
    ids=["patches and frames", "linear", "ImageBind"],
)
def test_towers_of_other_parts(tmp_path: Path, kinds: dict[str, Any], tokens: dict[str, int]) -> None:
    """Encoders that give sequences, projectors that count their tokens, ImageBind: nothing in the adapter differs."""
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path, **kinds))
    reference = checkpoint.load()
    assert {name: spec.tokens for name, spec in checkpoint.config.modality_specs.items()} == tokens
    for name, spec in checkpoint.config.modality_specs.items():
        tower = Tower(spec, checkpoint.config.hidden_size)
        tower.load(state_of(checkpoint, name))
        media = [picture(seed) if name == "image" else Sound(sound(seed, 0.4), 16_000) for seed in range(3)]
        inputs = spec.encoder.preprocess_many(media)
        made = torch.stack(tower(inputs))
        expected = reference.project(name, torch.stack(reference.encode(name, inputs)))
        assert made.shape == (3, tokens[name], 64)
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(made[0], made[1])


def test_batches_are_bounded(towers: dict[str, Tower], monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may hand over hundreds of media at once."""
    sizes: list[int] = []
    forward = nn.Module.__call__

    def counted(module: nn.Module, *args: torch.Tensor, **kwargs: object) -> torch.Tensor:
        if module is towers["image"].encoder:
            sizes.append(len(args[0]))
        return forward(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", counted)
    assert len(towers["image"]([torch.zeros(3, 32, 32)] * 100)) == 100
    assert sum(sizes) == 100
    assert max(sizes) <= 16


def test_towers_are_float32_whatever_the_default(tiny_checkpoint: Path) -> None:
    spec = Checkpoint.open(tiny_checkpoint).config.modality_specs["image"]
    torch.set_default_dtype(torch.bfloat16)
    try:
        tower = Tower(spec, 64)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not tower.training


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_named(tiny_checkpoint: Path, change: str) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    tower = Tower(checkpoint.config.modality_specs["image"], 64)
    state = state_of(checkpoint, "image")
    if change == "missing":
        del state["projector.second.bias"]
    elif change == "unknown":
        state["projector.third.bias"] = torch.zeros(3)
    else:
        state["projector.second.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=r"image tower.*projector\.(second|third)\.bias"):
        tower.load(state)


class TestMedia:
    """What the engine hands over, before it becomes encoder inputs. Imports vLLM."""

    @pytest.fixture(scope="class")
    def media(self) -> object:
        return importlib.import_module("model.vllm_adapter.media")

    def test_sounds_keep_their_rate_and_length(self, media: object) -> None:
        parser = media.MediaParser({"audio": lambda _: None})  # type: ignore[attr-defined]
        items = parser.parse_mm_data({"audio": [(np.zeros(4410, dtype=np.float64), 44_100), Sound(sound(0), 16_000)]})
        first, second = items["audio"].get_all()
        assert (len(first.samples), first.sampling_rate, first.samples.dtype) == (4410, 44_100, np.float32)
        assert second.sampling_rate == 16_000

    def test_same_samples_at_another_rate_are_another_sound(self, media: object) -> None:
        from vllm.multimodal.hasher import MultiModalHasher

        def key(rate: int) -> str:
            items = media.MediaItems([(sound(0), rate)], "audio", lambda _: None)  # type: ignore[attr-defined]
            return MultiModalHasher.hash_kwargs("blake3", audio=items.get_item_for_hash(0))

        assert key(16_000) == key(16_000)
        assert key(16_000) != key(8_000)

    def test_pictures_become_rgb(self, media: object) -> None:
        parser = media.MediaParser({"image": lambda _: None})  # type: ignore[attr-defined]
        (item,) = parser.parse_mm_data({"image": Image.new("L", (3, 2))})["image"].get_all()
        assert item.mode == "RGB"

    @pytest.mark.parametrize(
        "bad",
        [
            None,
            "text",
            np.zeros(10),
            torch.zeros(1, 4, 64),
            (np.zeros(0), 16_000),
            (np.array([np.nan]), 16_000),
            (np.zeros((2, 5)), 16_000),
            (np.zeros(10), 0),
        ],
    )
    def test_what_is_no_medium_is_named_by_its_place(self, media: object, bad: object) -> None:
        from vllm.exceptions import VLLMValidationError

        parser = media.MediaParser({"audio": lambda _: None})  # type: ignore[attr-defined]
        with pytest.raises(VLLMValidationError) as raised:
            parser.parse_mm_data({"audio": [(np.zeros(10), 16_000), bad]})
        assert raised.value.parameter == "audio[1]"

    def test_encoders_are_asked_before_anything_is_prepared(self, media: object, tiny_checkpoint: Path) -> None:
        from vllm.exceptions import VLLMValidationError

        spec = Checkpoint.open(tiny_checkpoint).config.modality_specs["audio"]
        parser = media.MediaParser({"audio": spec.encoder.check})  # type: ignore[attr-defined]
        with pytest.raises(VLLMValidationError, match="at most 10 s") as raised:
            parser.parse_mm_data({"audio": [(np.zeros(16_000), 16_000), (np.zeros(11 * 16_000), 16_000)]})
        assert raised.value.parameter == "audio[1]"

    def test_registration_can_be_repeated(self) -> None:
        from vllm import ModelRegistry

        from model.vllm_adapter import register

        register()
        register()
        assert "QuartetForConditionalGeneration" in ModelRegistry.get_supported_archs()


def test_importing_the_package_loads_no_engine() -> None:
    import subprocess
    import sys

    program = (
        "import sys, model.vllm_adapter; print([n for n in ('vllm', 'torch', 'transformers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
