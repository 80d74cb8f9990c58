"""Assembling and packing: one directory with everything, the same numbers, no work done twice."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import model.reference  # noqa: F401  registers the model class with transformers
from model import assembly
from model.assembly import assemble, check_packed, is_packed, pack
from model.checkpoint import Checkpoint
from model.errors import CheckpointError, SourceError
from model.prompt import Prompt
from tests.model.parts import CHAT, edit, features, record_hash
from tests.support.tiny import build_checkpoint

FILES = ["chat_template.jinja", "config.json", "encoders.safetensors", "generation_config.json"]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_assembled_directory(shared, shared_directory, cache):
    directory = assemble(shared_directory)
    assert directory.is_relative_to(cache)
    rest = ["llm-model.safetensors", "projectors.safetensors", "provenance.json"]
    assert names(directory) == sorted([*FILES, *rest, *TOKENIZER])
    assert is_packed(directory)
    assert not is_packed(shared_directory)
    link = directory / "llm-model.safetensors"
    assert link.is_symlink()
    assert link.resolve() == (shared.llm / "model.safetensors").resolve()
    config = AutoConfig.from_pretrained(directory)
    assert config.architectures == ["QuartetForConditionalGeneration"]
    assert config.modality_specs == shared.config.modality_specs
    assert assemble(directory) == directory


def test_assembled_tensors(shared, shared_directory):
    directory = assemble(shared_directory)
    encoders = load_file(directory / "encoders.safetensors")
    projectors = load_file(directory / "projectors.safetensors")
    for modality in ("image", "audio"):
        for name, tensor in shared.encoder_state(modality).items():
            assert torch.equal(encoders.pop(f"encoders.{modality}.{name}"), tensor)
    for name, tensor in shared.projector_state().items():
        assert torch.equal(projectors.pop(f"projectors.{name}"), tensor)
    assert encoders == projectors == {}


def test_assembled_tokenizer(shared, shared_directory):
    tokenizer = AutoTokenizer.from_pretrained(assemble(shared_directory))
    config = AutoConfig.from_pretrained(assemble(shared_directory))
    assert Prompt(tokenizer, config).encode(CHAT) == Prompt(shared.tokenizer(), shared.config).encode(CHAT)


def test_assembling_again_does_nothing(shared_directory, monkeypatch):
    first = assemble(shared_directory)
    written = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    monkeypatch.setattr(assembly, "_write", lambda *args, **kwargs: pytest.fail("wrote again"))
    assert assemble(shared_directory) == first
    assert {path.name: path.stat().st_mtime_ns for path in first.iterdir()} == written
    assert names(first.parent) == [first.name]


def test_a_change_is_assembled_anew(copied):
    first = assemble(copied)
    (copied / "state").mkdir()
    (copied / "state/optimizer.safetensors").write_bytes(b"leftovers of the run change nothing")
    assert assemble(copied) == first
    edit(copied / "provenance.json", lambda values: values["training"].update(seed=99))
    second = assemble(copied)
    assert second != first
    assert json.loads((second / "provenance.json").read_text())["training"]["seed"] == 99


def test_links_to_weights_that_moved_are_made_again(copied):
    first = assemble(copied)
    llm = copied.parent / "llm"
    llm.rename(copied.parent / "elsewhere")
    with pytest.raises(SourceError, match="there is no"):
        assemble(copied)
    (copied.parent / "elsewhere").rename(llm)
    again = assemble(copied)
    assert again == first
    assert all(path.exists() for path in again.iterdir())


def test_failure_leaves_nothing_behind(copied, cache, monkeypatch):
    monkeypatch.setattr(assembly, "_trained", lambda checkpoint: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        assemble(copied)
    assert names(cache / "assembled") == []


def test_two_processes_assemble_the_same(shared_directory, monkeypatch):
    """The slower one finds the directory made and uses it."""
    write = assembly._write

    def after_another(checkpoint, target, *, link):
        monkeypatch.setattr(assembly, "_write", write)
        assert assemble(shared_directory) == target
        write(checkpoint, target, link=link)

    monkeypatch.setattr(assembly, "_write", after_another)
    directory = assemble(shared_directory)
    assert is_packed(directory)
    assert names(directory.parent) == [directory.name]


def test_only_the_shards_of_the_index_are_linked(copied):
    """Some publishers ship the same weights a second time, in their own layout."""
    llm = copied.parent / "llm"
    shutil.copy(llm / "model.safetensors", llm / "consolidated.safetensors")
    record_hash(copied, "llm", llm)
    assert [name for name in names(assemble(copied)) if name.startswith("llm-")] == ["llm-model.safetensors"]


def test_language_model_in_shards_or_in_another_format(copied):
    llm = copied.parent / "llm"
    language_model = AutoModelForCausalLM.from_pretrained(llm)
    (llm / "model.safetensors").unlink()
    language_model.save_pretrained(llm, max_shard_size="100KB")
    shards = sorted(path.name for path in llm.glob("*.safetensors"))
    assert len(shards) > 1

    record_hash(copied, "llm", llm)
    assert [name for name in names(assemble(copied)) if name.startswith("llm-")] == [f"llm-{name}" for name in shards]

    for path in (*llm.glob("*.safetensors"), llm / "model.safetensors.index.json"):
        path.unlink()
    torch.save(language_model.state_dict(), llm / "pytorch_model.bin")
    record_hash(copied, "llm", llm)
    directory = assemble(copied)
    assert "llm.safetensors" in names(directory)
    assert not any(path.is_symlink() for path in directory.iterdir())


# -------------------------------------------------------------------------------------------------------- pack


@pytest.mark.parametrize("llm", ["llama", "mistral", "qwen2"])
@torch.no_grad()
def test_packed_directory_loads_with_transformers_alone(tmp_path, llm):
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path, llm=llm))
    packed = pack(checkpoint.directory, tmp_path / "packed")
    assert names(packed) == sorted(
        [
            *FILES,
            *TOKENIZER,
            "llm.safetensors",
            "model.safetensors.index.json",
            "projectors.safetensors",
            "provenance.json",
        ]
    )
    shutil.rmtree(checkpoint.llm)
    for modality in ("image", "audio"):
        (tmp_path / f"{modality}.safetensors").unlink()

    expected = Checkpoint.open(build_checkpoint(tmp_path / "again", llm=llm)).load()
    loaded, info = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values())
    loaded = loaded.eval()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    tokenizer = AutoTokenizer.from_pretrained(packed)
    ids = Prompt(tokenizer, loaded.config).encode(CHAT)
    given = features(loaded)
    batch = torch.tensor([ids])
    assert torch.equal(loaded(batch, features=given).logits, expected(batch, features=features(expected)).logits)
    answer, wanted = loaded.answer(ids, given), expected.answer(ids, given)
    assert answer.token_ids == wanted.token_ids
    # Weights that lie elsewhere in memory are added up in another order on some processors.
    assert answer.logprobs == pytest.approx(wanted.logprobs, abs=1e-5)


@torch.no_grad()
def test_packed_in_bfloat16_keeps_towers_in_float32(shared_directory, tmp_path):
    packed = pack(shared_directory, tmp_path / "packed")
    loaded = AutoModelForCausalLM.from_pretrained(packed, dtype=torch.bfloat16)
    assert loaded.language_model.dtype == torch.bfloat16
    for part in (loaded.encoders, loaded.projectors):
        assert {tensor.dtype for tensor in part.state_dict().values()} == {torch.float32}


def test_packed_index_and_vocabulary(shared_directory, tmp_path):
    packed = pack(shared_directory, tmp_path / "packed")
    index = json.loads((packed / "model.safetensors.index.json").read_text())["weight_map"]
    stored = {name: path.name for path in packed.glob("*.safetensors") for name in load_file(path)}
    assert index == stored
    table = load_file(packed / "llm.safetensors")["language_model.model.embed_tokens.weight"]
    assert table.shape == (384, 64)
    assert table[320:].abs().sum() == 0
    assert "language_model.lm_head.weight" not in stored, "tied weights are stored once"
    assert assemble(packed) == packed


def test_packed_adapter_is_merged(copied, tmp_path):
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(Checkpoint.open(copied).load().language_model, LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    lora.save_pretrained(str(copied / "adapter"), save_embedding_layers=False)
    expected = Checkpoint.open(copied).load()
    for directory in (pack(copied, tmp_path / "packed"), assemble(copied)):
        assert not (directory / "adapter").exists()
        loaded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        ids = torch.tensor([[5, 6, 7]])
        torch.testing.assert_close(loaded(ids).logits, expected(ids).logits, rtol=1e-4, atol=1e-4)


def test_whoever_may_look_into_a_packed_directory_may_read_it(shared_directory, tmp_path):
    output = pack(shared_directory, tmp_path / "packed")
    (tmp_path / "plain").write_text("")
    wanted = (tmp_path / "plain").stat().st_mode
    assert {path.name for path in output.iterdir() if path.stat().st_mode != wanted and path.is_file()} == set()


def test_files_that_cannot_be_read_are_named(shared_directory, tmp_path):
    output = pack(shared_directory, tmp_path / "packed")
    (output / "encoders.safetensors").unlink()
    (output / "encoders.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"encoders\.safetensors: cannot be read \(No such file or directory\)"):
        check_packed(output)


def test_pack_refuses_to_overwrite(shared_directory, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    assert pack(shared_directory, target) == target
    with pytest.raises(CheckpointError, match="is not empty; pack writes into a new directory"):
        pack(shared_directory, target)
    with pytest.raises(CheckpointError, match="is already packed"):
        pack(target, tmp_path / "other")
    with pytest.raises(CheckpointError, match="is not a Quartet checkpoint"):
        pack(tmp_path / "nowhere", tmp_path / "other")
    assert not (tmp_path / "other").exists()
