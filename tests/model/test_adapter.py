"""The LoRA adapter: what is written is what PEFT reads, and one for media leaves text as it was."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.adapter import (
    ADAPTER,
    AdapterConfig,
    adapter_layers,
    adapter_rank,
    adapter_switched,
    add_adapter,
    load_adapter,
    save_adapter,
)
from model.assembly import assemble, is_packed, pack
from model.checkpoint import Checkpoint
from model.errors import CheckpointError, ConfigurationError, PromptError
from model.llm import load_llm
from model.reference import QuartetForConditionalGeneration
from tests.support.tiny import build_checkpoint, build_llm, random_adapter

CONFIG = AdapterConfig(rank=4, alpha=8, targets=["q_proj", "down_proj"])


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llm(tmp_path_factory.mktemp("adapter") / "llm")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """The same random parts without an adapter, and with one of either scope."""
    made = {}
    for scope in ("none", "always", "media"):
        adapter = None if scope == "none" else AdapterConfig(rank=4, scope=scope)
        made[scope] = Checkpoint.open(build_checkpoint(tmp_path_factory.mktemp(scope), audio=None, adapter=adapter))
    return made


def logits(model: torch.nn.Module, *ids: int) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = model(torch.tensor([ids])).logits
    return output


def test_a_new_adapter_changes_nothing_and_is_all_that_can_be_told_by_its_names(llm: Path) -> None:
    plain, adapted = load_llm(llm, torch.bfloat16), load_llm(llm, torch.bfloat16)
    add_adapter(adapted, CONFIG)
    assert torch.equal(logits(plain, 5, 6, 7), logits(adapted, 5, 6, 7))
    names = {name: p for name, p in adapted.named_parameters() if ".lora_" in name}
    # Two layers, two targets, A and B.
    assert len(names) == 8
    assert {p.dtype for p in names.values()} == {torch.float32}
    assert not adapter_layers(plain)
    assert len(adapter_layers(adapted)) == 4


def test_written_and_read_again_it_is_the_same(llm: Path, tmp_path: Path) -> None:
    adapted = random_adapter(llm, CONFIG)
    save_adapter(adapted, CONFIG, tmp_path, torch.float32)
    expected = logits(adapted, 5, 6, 7)
    assert not torch.allclose(expected, logits(load_llm(llm, torch.float32), 5, 6, 7), atol=1e-2)
    for scope in ("always", "media"):
        again = load_adapter(load_llm(llm, torch.float32), tmp_path, scope)
        assert bool(adapter_layers(again)) == (scope == "media")
        torch.testing.assert_close(logits(again, 5, 6, 7), expected, rtol=1e-4, atol=1e-4)
    assert adapter_rank(tmp_path) == 4
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in stored
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_switching_keeps_what_is_trained(llm: Path) -> None:
    adapted = random_adapter(llm, CONFIG)
    plain, changed = logits(load_llm(llm, torch.float32), 5, 6), logits(adapted, 5, 6)
    frozen = [name for name, parameter in adapted.named_parameters() if "q_proj.lora_A" in name]
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(".lora_" in name and name not in frozen)
    before = [parameter.requires_grad for parameter in adapted.parameters()]
    with adapter_switched(adapter_layers(adapted), False):
        assert torch.equal(logits(adapted, 5, 6), plain)
        with adapter_switched(adapter_layers(adapted), False):
            assert torch.equal(logits(adapted, 5, 6), plain)
        with adapter_switched(adapter_layers(adapted), True):
            assert torch.equal(logits(adapted, 5, 6), changed)
    assert torch.equal(logits(adapted, 5, 6), changed)
    assert [parameter.requires_grad for parameter in adapted.parameters()] == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "rank: 0 is outside 1..512"),
        ({"scope": "sometimes"}, "scope: 'sometimes'"),
        ({"targets": []}, "targets: name at least one"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AdapterConfig(**values)  # type: ignore[arg-type]


def test_a_target_that_no_layer_is_called_is_named(llm: Path) -> None:
    with pytest.raises(ConfigurationError, match="targets: no layer of this language model is called 'query'"):
        add_adapter(load_llm(llm, torch.float32), AdapterConfig(targets=["q_proj", "query"]))


def test_adapters_of_other_models_and_damaged_ones_are_refused(llm: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the configuration of a LoRA adapter"):
        adapter_rank(tmp_path)
    save_adapter(random_adapter(llm, CONFIG), CONFIG, tmp_path, torch.float32)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="no adapter of this language model"):
        load_adapter(load_llm(llm, torch.float32), tmp_path, "media")


def test_with_scope_media_text_is_that_of_the_plain_model(checkpoints: dict[str, Checkpoint]) -> None:
    plain, always, media = (checkpoints[scope].load() for scope in ("none", "always", "media"))
    assert torch.equal(logits(media, 5, 6, 7), logits(plain, 5, 6, 7))
    assert not torch.allclose(logits(always, 5, 6, 7), logits(plain, 5, 6, 7), atol=1e-2)
    image = plain.config.media_token_ids["image"]
    features = {"image": torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))}
    prompt = [5, *[image] * 4, 7]
    answers = [model.answer(prompt, features, max_tokens=4) for model in (plain, always, media)]
    assert answers[1].logprobs == pytest.approx(answers[2].logprobs, abs=1e-4)
    assert answers[0].logprobs != pytest.approx(answers[2].logprobs, abs=1e-2)
    # And again without media: nothing stays switched on.
    assert torch.equal(logits(media, 5, 6, 7), logits(plain, 5, 6, 7))
    assert media.answer([5, 6]).logprobs == plain.answer([5, 6]).logprobs


def test_one_batch_has_prompts_with_media_or_without(checkpoints: dict[str, Checkpoint]) -> None:
    model = checkpoints["media"].load()
    image = model.config.media_token_ids["image"]
    ids = torch.tensor([[5, *[image] * 4, 7], [5, 6, 7, 8, 9, 10]])
    with pytest.raises(PromptError, match="with and without media in one batch"):
        model(ids, features={"image": torch.randn(1, 1, 32)})


def test_served_and_packed_it_lies_beside_the_untouched_weights(
    checkpoints: dict[str, Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    checkpoint = checkpoints["media"]
    assembled = assemble(checkpoint.directory)
    assert (assembled / "llm-model.safetensors").is_symlink()
    packed = pack(checkpoint.directory, tmp_path / "packed")
    for directory in (assembled, packed):
        assert is_packed(directory)
        assert adapter_rank(directory / ADAPTER) == 4
    again = QuartetForConditionalGeneration.from_pretrained(packed).eval()
    reference = checkpoint.load()
    features = {"image": torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))}
    prompt = [5, *[again.config.media_token_ids["image"]] * 4, 7]
    assert again.answer(prompt, features).logprobs == pytest.approx(
        reference.answer(prompt, features).logprobs, abs=1e-4
    )
    torch.testing.assert_close(logits(again, 5, 6, 7), logits(reference, 5, 6, 7))
    (packed / ADAPTER / "adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match="not the configuration of a LoRA adapter"):
        assemble(packed)


def test_a_promised_adapter_must_be_there(tmp_path: Path) -> None:
    directory = build_checkpoint(tmp_path, audio=None, image=None, adapter=AdapterConfig(rank=4, scope="media"))
    (directory / ADAPTER).rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="adapter_scope is media, but there is no adapter/"):
        Checkpoint.open(directory)
