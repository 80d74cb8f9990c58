"""Checkpoints: the round trip, and every part that does not fit or is not what was recorded refused by name."""

import dataclasses
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model.checkpoint import Checkpoint, Part, Provenance, build_config
from model.errors import CheckpointError, ConfigurationError, QuartetError, SourceError
from model.prompt import Prompt
from model.sources import sha256_of
from tests.model.parts import CHAT, edit, features, record_hash
from tests.support.tiny import ENCODERS, build_checkpoint, build_llm, build_tokenizer

# ---------------------------------------------------------------------------------------------- the good path


@torch.no_grad()
def test_saved_and_loaded_is_the_same(shared, reference, tmp_path):
    target = tmp_path / "deep/again"
    absolute = {
        name: dataclasses.replace(part, source=f"file:{(shared.directory / part.source[5:]).resolve()}")
        for name, part in {"llm": shared.provenance.llm, **shared.provenance.encoders}.items()
    }
    provenance = Provenance(llm=absolute.pop("llm"), encoders=absolute, training={"recipe": "x", "scores": {"a": 0.5}})
    saved = Checkpoint.save(target, shared.config, reference.projectors, provenance)
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "projectors.safetensors",
        "provenance.json",
    ]
    opened = Checkpoint.open(target)
    assert opened.provenance == provenance == saved.provenance
    assert opened.config.modality_specs == shared.config.modality_specs

    again = opened.load()
    assert not again.training
    assert again.state_dict().keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    ids = Prompt(opened.tokenizer(), opened.config).encode(CHAT)
    assert again.answer(ids, features(again)) == reference.answer(ids, features(reference))


@pytest.mark.parametrize("image", ["clip", "siglip", "efficientnet"])
@pytest.mark.parametrize("llm", ["llama", "mistral", "qwen2"])
def test_every_family_loads_by_configuration_alone(tmp_path, llm, image):
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path, llm=llm, image=image, tokens=2))
    model = checkpoint.load()
    ids = Prompt(checkpoint.tokenizer(), checkpoint.config).encode(CHAT)
    answers = {tuple(model.answer(ids, features(model, seed), max_tokens=8).token_ids) for seed in (0, 5)}
    assert len(answers) == 2, "the answer depends on the media"


@pytest.mark.parametrize(("image", "audio"), [(None, "whisper"), ("clip", None), (None, None)])
def test_models_that_lack_a_sense(tmp_path, image, audio):
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path, image=image, audio=audio))
    model = checkpoint.load()
    assert set(model.config.modality_specs) == {n for n, f in (("image", image), ("audio", audio)) if f}
    ids = Prompt(checkpoint.tokenizer(), checkpoint.config).encode([{"role": "user", "content": "hello"}])
    assert model.answer(ids, max_tokens=3).token_ids


def test_weights_are_checked_against_the_files(shared, reference, shared_directory):
    stored = load_file(shared_directory.parent / "image.safetensors")
    for name, tensor in stored.items():
        assert torch.equal(reference.encoders["image"].state_dict()[f"tower.{name}"], tensor)
    trained = load_file(shared_directory / "projectors.safetensors")
    assert {name.split(".")[0] for name in trained} == {"image", "audio"}
    assert trained.keys() == reference.projectors.state_dict().keys()


def test_projectors_can_be_stored_smaller(shared, reference, tmp_path):
    half = Checkpoint.save(
        tmp_path / "half", shared.config, reference.projectors, shared.provenance, dtype=torch.bfloat16
    )
    stored = load_file(tmp_path / "half/projectors.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in half.projector_state().values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("embeddings", ["auto", False])
def test_adapter_is_merged(copied, embeddings):
    """By default PEFT stores the padded embedding table too; with or without it, the adapter fits."""
    from peft import LoraConfig, get_peft_model

    checkpoint = Checkpoint.open(copied)
    plain = checkpoint.load()
    lora = get_peft_model(checkpoint.load().language_model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    for name, parameter in lora.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    lora.save_pretrained(str(copied / "adapter"), save_embedding_layers=embeddings)
    stored = load_file(copied / "adapter/adapter_model.safetensors")
    assert any("embed_tokens" in name for name in stored) == (embeddings == "auto")
    ids = torch.tensor([[5, 6, 7, 8]])
    merged = Checkpoint.open(copied).load()
    with torch.no_grad():
        expected = lora.eval()(ids).logits[..., :320]
        torch.testing.assert_close(merged(ids).logits[..., :320], expected, rtol=1e-3, atol=1e-3)
        assert (plain(ids).logits - merged(ids).logits)[..., :320].abs().max() > 0.1


def test_projector_that_diverged(copied):
    state = load_file(copied / "projectors.safetensors")
    state["audio.first.bias"][3] = float("nan")
    save_file(state, copied / "projectors.safetensors")
    with pytest.raises(CheckpointError, match=r"audio\.first\.bias holds NaN or infinite values"):
        Checkpoint.open(copied).load()


# ---------------------------------------------------------------------------------------------- build_config


def test_build_config(tmp_path):
    llm = build_llm(tmp_path)
    entry = {"encoder": ENCODERS["clip"], "projector": {"type": "mlp"}}
    config = build_config(llm, {"image": entry, "audio": {**entry, "encoder": ENCODERS["whisper"], "begin": "<a>"}})
    assert config.media_token_ids == {"image": 320, "audio": 321}
    assert config.llm_vocab_size == 320
    assert config.get_text_config().vocab_size == 384
    assert config.modality_specs["audio"].fields.begin == "<a>"
    with pytest.raises(ConfigurationError, match=r"modalities\.image\.projector\.tokens: 0 is outside"):
        build_config(llm, {"image": {**entry, "projector": {"type": "mlp", "tokens": 0}}})


def test_build_config_where_the_language_model_has_room(tmp_path):
    """Qwen2's table has more rows than its tokenizer has tokens: nothing is padded, only the placeholders are muted."""
    llm = build_llm(tmp_path)
    tokenizer = build_tokenizer()
    edit(llm / "config.json", lambda values: values.update(vocab_size=340))
    entry = {"encoder": ENCODERS["clip"], "projector": {"type": "mlp"}, "placeholder": "<|im_end|>"}
    config = build_config(llm, {"image": entry})
    assert config.media_token_ids == {"image": tokenizer.eos_token_id}
    config = build_config(llm, {"image": {**entry, "placeholder": "<|picture|>"}})
    assert (config.get_text_config().vocab_size, config.llm_vocab_size) == (340, 340)
    assert config.suppressed_token_ids == [320]


# ---------------------------------------------------------------------------------------------- misfits


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "projectors.safetensors"])
def test_missing_file(copied, name):
    (copied / name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"is not a Quartet checkpoint: {name} is missing")):
        Checkpoint.open(copied)


def test_missing_directory(tmp_path):
    with pytest.raises(CheckpointError, match="is not a Quartet checkpoint"):
        Checkpoint.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "projectors.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"{}"])
def test_damaged_file(copied, name, content):
    (copied / name).write_bytes(content)
    with pytest.raises(QuartetError, match=name):
        Checkpoint.open(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("llm"), "provenance.json: llm: expected a mapping, got NoneType"),
        (lambda v: v["llm"].pop("sha256"), "provenance.json: llm: missing key 'sha256'"),
        (lambda v: v["encoders"].pop("audio"), "encoders.audio is missing"),
        (lambda v: v["encoders"].update(audio=3), "provenance.json: encoders.audio: expected a mapping, got int"),
        (lambda v: v.update(encoders=[]), "provenance.json: encoders: expected a mapping, got []"),
        (lambda v: v.update(colour=1), "provenance.json: unknown key 'colour'"),
        (lambda v: v["llm"].update(source=None), "provenance.json: llm.source: expected str, got None"),
    ],
)
def test_bad_provenance(copied, change, message):
    edit(copied / "provenance.json", change)
    with pytest.raises(QuartetError) as error:
        Checkpoint.open(copied)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v["modalities"]["image"]["projector"].update(tokens=3),
            "tensor image.second.weight has shape (256, 64), the configuration asks for (192, 64)",
        ),
        (
            lambda v: v["modalities"]["image"]["encoder"]["config"].update(hidden_size=64),
            "tensor image.first.weight has shape (64, 32), the configuration asks for (64, 64)",
        ),
        (lambda v: v["text_config"].update(hidden_size=128), "tensor audio.first.weight has shape (64, 32)"),
        (lambda v: v["modalities"].pop("audio"), "unexpected tensor audio."),
        (
            lambda v: v["modalities"]["image"]["projector"].update(residual=True),
            "tensor image.mean is missing; it was saved for another configuration",
        ),
    ],
)
def test_projector_that_does_not_fit(copied, change, message):
    edit(copied / "config.json", change)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(copied)
    assert message in str(error.value)
    assert "projectors.safetensors" in str(error.value)


def test_configuration_of_another_model(copied, shared):
    shutil.copy(shared.llm / "config.json", copied / "config.json")
    with pytest.raises(CheckpointError, match="not the configuration of a Quartet model"):
        Checkpoint.open(copied)


@pytest.mark.parametrize("part", ["llm", "image", "audio"])
def test_other_weights_than_recorded(copied, part):
    edit(
        copied / "provenance.json",
        lambda v: (v["llm"] if part == "llm" else v["encoders"][part]).update(sha256="0" * 64),
    )
    checkpoint = Checkpoint.open(copied)
    with pytest.raises(SourceError, match="0000"):
        checkpoint.load()


@pytest.mark.parametrize("part", ["llm", "image"])
def test_weights_that_are_gone(copied, part):
    target = copied.parent / ("llm" if part == "llm" else "image.safetensors")
    target.rename(target.with_name("moved"))
    with pytest.raises(SourceError, match="there is no"):
        Checkpoint.open(copied).load()


def test_encoder_that_does_not_fit(copied):
    path = copied.parent / "image.safetensors"
    state = load_file(path)
    name = "post_layernorm.weight"
    for change, message in (
        ({name: torch.ones(16)}, f"tensor tower.{name} has shape (16,), the configuration asks for (32,)"),
        ({name: None}, f"tensor tower.{name} is missing"),
        ({"surprise.weight": torch.ones(3)}, "unexpected tensor tower.surprise.weight"),
    ):
        changed = {key: value for key, value in (state | change).items() if value is not None}
        save_file(changed, path)
        record_hash(copied, "image", path)
        with pytest.raises(CheckpointError) as error:
            Checkpoint.open(copied).load()
        assert message in str(error.value)
        assert "encoder of modality image (file:../image.safetensors)" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3, this checkpoint was trained with 2"),
        ({"hidden_size": 32}, "hidden_size is 32, this checkpoint was trained with 64"),
        ({"model_type": "mistral"}, "model_type is 'mistral', this checkpoint was trained with 'llama'"),
        ({"vocab_size": 319}, "vocab_size is 319, this checkpoint was trained with 320"),
    ],
)
def test_language_model_that_does_not_fit(copied, change, message):
    llm = copied.parent / "llm"
    edit(llm / "config.json", lambda values: values.update(change))
    record_hash(copied, "llm", llm)
    with pytest.raises(CheckpointError) as error:
        Checkpoint.open(copied).load()
    assert message in str(error.value)
    assert "file:../llm" in str(error.value)


def test_tokenizer_that_does_not_fit(copied):
    llm = copied.parent / "llm"
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["something"])
    tokenizer.save_pretrained(llm)
    record_hash(copied, "llm", llm)
    with pytest.raises(
        CheckpointError, match=r"placeholder_id: the checkpoint records 320, the tokenizer in .* gives 321"
    ):
        Checkpoint.open(copied).tokenizer()


def test_language_model_that_is_none(copied):
    llm = copied.parent / "llm"
    (llm / "config.json").unlink()
    record_hash(copied, "llm", llm)
    with pytest.raises(CheckpointError, match=r"holds no config.json: give a Hugging Face model directory"):
        Checkpoint.open(copied).load()
    text = copied.parent / "notes.txt"
    text.write_text("hello")
    part = Part(source="file:../notes.txt", sha256=sha256_of(text))
    edit(copied / "provenance.json", lambda values: values.update(llm=dataclasses.asdict(part)))
    with pytest.raises(CheckpointError, match=r"notes.txt is neither a Hugging Face model directory nor a .gguf file"):
        Checkpoint.open(copied).load()
