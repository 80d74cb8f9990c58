"""Runs that train more than projectors: what is trained is in the checkpoint, and is what is loaded and served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from model.assembly import assemble, check_packed, pack
from model.checkpoint import Checkpoint
from model.llm import load_llm
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from tests.training.parts import recipe_values, write_recipe
from training import run as run_module
from training.recipe import read_recipe
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
SOURCES = ("scenes", "tones", "dialogs")
CHAT = [{"role": "user", "content": "Which colour?"}]


@pytest.fixture
def trained(parts: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the tiny recipe with these stages; gives the checkpoint and the model at the end of the run."""

    def build(stages: list[dict[str, Any]], **fields: Any) -> tuple[Checkpoint, QuartetForConditionalGeneration]:
        values = {**recipe_values(parts), **fields}
        base = {"max_length": 128, "batch_tokens": 256, "steps": 6, "data": [{"source": name} for name in SOURCES]}
        values["stages"] = [{**base, **stage} for stage in stages]
        models: list[QuartetForConditionalGeneration] = []
        original = run_module.build_model
        monkeypatch.setattr(run_module, "build_model", lambda *given: models.append(original(*given)) or models[0])
        recipe = read_recipe(write_recipe(parts / f"carried-{tmp_path.name}.yaml", values))
        return run(recipe, corpus, tmp_path / "run"), models[0].eval()

    return build


def logits(model: QuartetForConditionalGeneration, checkpoint: Checkpoint) -> torch.Tensor:
    prompt = Prompt(checkpoint.tokenizer(), checkpoint.config)
    with torch.no_grad():
        return model(torch.tensor([prompt.encode(CHAT)])).logits


def test_two_stages_align_the_projectors_and_then_tune_an_adapter_with_them(trained: Callable[..., Any]) -> None:
    checkpoint, model = trained(
        [
            {"name": "align", "learning_rates": {"projectors": 0.01}},
            {
                "name": "joint",
                "learning_rates": {"projectors": 0.002, "adapter": 0.01},
                "batch_rows": 2,
                "batch_tokens": None,
            },
        ],
        adapter={"rank": 4, "dropout": 0.05},
    )
    assert checkpoint.adapter is not None
    assert any(
        tensor.any()
        for name, tensor in load_file(checkpoint.adapter / "adapter_model.safetensors").items()
        if "lora_B" in name
    )
    counts = {"scenes": 24, "tones": 16, "dialogs": 8}
    expected = {f"{stage}/{source}": counts[source] for stage in ("align", "joint") for source in SOURCES}
    assert checkpoint.provenance.training["samples"] == expected
    assert "base" not in checkpoint.provenance.training
    torch.testing.assert_close(logits(checkpoint.load(), checkpoint), logits(model, checkpoint), atol=2e-2, rtol=0)
    check_packed(assemble(checkpoint.directory))


def test_a_trained_language_model_is_carried_by_the_checkpoint(
    trained: Callable[..., Any], parts: Path, tmp_path: Path
) -> None:
    checkpoint, model = trained([{"name": "all", "learning_rates": {"projectors": 0.01, "llm": 0.003}}])
    part = checkpoint.provenance.llm
    assert part.source == "file:llm"
    assert checkpoint.provenance.training["base"]["llm"]["source"] == f"file:{parts / 'llm'}"
    own, base = load_llm(checkpoint.llm, torch.float32), load_llm(parts / "llm", torch.float32)
    assert own.config.vocab_size == base.config.vocab_size, "without the rows of media tokens"
    assert not torch.equal(own.get_input_embeddings().weight, base.get_input_embeddings().weight)
    # Its files hold the data type of those it was trained from.
    assert (
        load_file(checkpoint.llm / "model.safetensors").popitem()[1].dtype
        == AutoConfig.from_pretrained(parts / "llm").dtype
    )
    torch.testing.assert_close(logits(checkpoint.load(), checkpoint), logits(model, checkpoint), atol=1e-3, rtol=0)
    check_packed(assemble(checkpoint.directory))
    packed = pack(checkpoint.directory, tmp_path / "packed")
    loaded = QuartetForConditionalGeneration.from_pretrained(packed).eval()
    torch.testing.assert_close(logits(loaded, checkpoint), logits(model, checkpoint), atol=1e-3, rtol=0)


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_trained_encoder_is_carried_by_the_checkpoint(
    trained: Callable[..., Any], parts: Path, corpus: Path, modality: str
) -> None:
    checkpoint, model = trained(
        [
            {"name": "align", "learning_rates": {"projectors": 0.01}},
            {"name": "joint", "learning_rates": {"projectors": 0.01, f"encoders.{modality}": 0.003}},
        ]
    )
    assert checkpoint.provenance.encoders[modality].source == f"file:encoders/{modality}.safetensors"
    other = "audio" if modality == "image" else "image"
    assert checkpoint.provenance.encoders[other].source == f"file:{parts / other}.safetensors"
    assert list(checkpoint.provenance.training["base"]["encoders"]) == [modality]
    state, frozen = checkpoint.encoder_state(modality), model.encoders[modality].state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in frozen.items())
    spec = checkpoint.config.modality_specs[modality].encoder
    before = spec.convert(load_file(parts / f"{modality}.safetensors"))
    assert any(not torch.equal(state[name], tensor) for name, tensor in before.items())
    loaded = checkpoint.load()
    inputs = [spec.preprocess(spec.example())]
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode(modality, inputs)[0], model.encode(modality, inputs)[0])
    check_packed(assemble(checkpoint.directory))


def test_an_adapter_on_a_trained_language_model_is_kept_apart(trained: Callable[..., Any]) -> None:
    checkpoint, model = trained(
        [
            {"name": "full", "learning_rates": {"llm": 0.003}},
            {"name": "lora", "learning_rates": {"adapter": 0.01}, "gradient_checkpointing": True},
        ],
        adapter={"rank": 4},
    )
    torch.testing.assert_close(logits(checkpoint.load(), checkpoint), logits(model, checkpoint), atol=2e-2, rtol=0)


def test_what_is_trained_in_bfloat16_is_kept_in_float32(trained: Callable[..., Any]) -> None:
    _, model = trained([{"name": "all", "learning_rates": {"llm": 0.003}, "accumulation": 2}], dtype="bfloat16")
    assert {parameter.dtype for parameter in model.language_model.parameters()} == {torch.float32}


def test_gradient_checkpointing_gives_the_same_weights(parts: Path, corpus: Path, tmp_path: Path) -> None:
    states = []
    for checkpointing in (False, True):
        values = recipe_values(parts)
        values["adapter"] = {"rank": 4}
        values["stages"][0] |= {
            "steps": 6,
            "learning_rates": {"projectors": 0.01, "adapter": 0.01},
            "gradient_checkpointing": checkpointing,
        }
        recipe = read_recipe(write_recipe(parts / f"checkpointing-{checkpointing}.yaml", values))
        checkpoint = run(recipe, corpus, tmp_path / str(checkpointing))
        states.append(checkpoint.projector_state())
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], atol=1e-3, rtol=1e-3)
