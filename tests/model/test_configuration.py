"""`QuartetConfig`: the round trip through files, and refusals that name field, value and range."""

import copy
import json

import pytest
from transformers import AutoConfig, LlamaConfig

from model.configuration import QuartetConfig, padded_vocab_size, parse_modality
from model.errors import ConfigurationError

TEXT = LlamaConfig(
    vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
).to_dict()
IMAGE = {
    "encoder": {"family": "efficientnet", "variant": "lite0"},
    "projector": {"type": "mlp", "tokens": 2},
    "placeholder": "<|image|>",
    "placeholder_id": 126,
}
AUDIO = {
    "encoder": {"family": "whisper"},
    "projector": {"type": "mlp"},
    "placeholder": "<|audio|>",
    "placeholder_id": 127,
    "begin": "<sound>",
    "end": "</sound>",
}


def config(**changes):
    values = {"text_config": TEXT, "modalities": {"image": IMAGE, "audio": AUDIO}, "llm_vocab_size": 100}
    return QuartetConfig(**copy.deepcopy({**values, **changes}))


def changed(entry, **changes):
    """A copy of a modality entry; `projector__tokens=0` changes `projector.tokens`."""
    entry = copy.deepcopy(entry)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = entry
        for parent in parents:
            target = target[parent]
        target[last] = value
    return entry


def test_round_trip(tmp_path):
    made = config()
    made.save_pretrained(tmp_path)
    read = AutoConfig.from_pretrained(tmp_path)
    assert type(read) is QuartetConfig
    assert read.modality_specs == made.modality_specs
    assert read.get_text_config().to_dict() == made.get_text_config().to_dict()
    assert read.llm_vocab_size == 100
    assert read.architectures == ["QuartetForConditionalGeneration"]
    assert read.get_text_config().architectures == ["LlamaForCausalLM"]
    read.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/config.json").read_text() == (tmp_path / "config.json").read_text()


def test_facts():
    made = config()
    assert made.hidden_size == 32
    assert made.media_token_ids == {"image": 126, "audio": 127}
    assert made.suppressed_token_ids == list(range(100, 128))
    image, audio = made.modality_specs["image"], made.modality_specs["audio"]
    assert (image.tokens, audio.tokens) == (2, 4)
    assert image.encoder.dim == 1280
    assert audio.encoder.max_seconds == 30
    assert config(llm_vocab_size=None).suppressed_token_ids == [126, 127]


def test_model_without_modalities_and_empty_configuration():
    assert config(modalities=None).modality_specs == {}
    assert QuartetConfig().modality_specs == {}


def test_tied_embeddings_follow_the_language_model():
    assert config(text_config={**TEXT, "tie_word_embeddings": True}).tie_word_embeddings
    assert not config().tie_word_embeddings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalitys": {}}, "config: unknown key 'modalitys'; known keys are adapter_scope, "),
        ({"modalities": []}, "modalities: expected a mapping, got []"),
        ({"modalities": {"image": 3}}, "modalities.image: expected a mapping, got int"),
        ({"text_config": "llama"}, "text_config: expected a mapping, got 'llama'"),
        ({"text_config": {"hidden_size": 3}}, "text_config.model_type: None is not"),
        ({"text_config": {"model_type": "lama"}}, "text_config.model_type: 'lama' is not"),
        ({"text_config": {**TEXT, "hidden_size": "32"}}, "text_config: "),
        ({"text_config": {"model_type": "clip_vision_model", "vocab_size": 9}}, "is not a decoder language model"),
        ({"llm_vocab_size": 129}, "llm_vocab_size: 129 is outside 1..128 (text_config.vocab_size)"),
        ({"llm_vocab_size": 0}, "llm_vocab_size: 0 is outside 1..128"),
        ({"llm_vocab_size": "100"}, "llm_vocab_size: '100' is outside 1..128"),
        ({"modalities": {"audio": IMAGE}}, "modalities.audio.encoder.family: efficientnet encodes image, not audio"),
        (
            {"modalities": {"image": IMAGE, "audio": {**AUDIO, "placeholder_id": 126}}},
            "two of them share the same placeholder_id: [126, 126]",
        ),
        (
            {"modalities": {"image": IMAGE, "audio": {**AUDIO, "placeholder": "<|image|>"}}},
            "two of them share the same placeholder: ['<|image|>', '<|image|>']",
        ),
        (
            {"modalities": {"image": IMAGE, "audio": {**AUDIO, "begin": "after <|image|>"}}},
            "modalities.audio: begin 'after <|image|>' and end '</sound>' must not hold the placeholder '<|image|>'",
        ),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(ConfigurationError) as error:
        config(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (changed(IMAGE, placeholder_id=128), "placeholder_id: 128 is outside 0..127; pad text_config.vocab_size"),
        (changed(IMAGE, placeholder_id=-1), "placeholder_id: -1 is outside 0..127"),
        (changed(IMAGE, placeholder_id=True), "placeholder_id: expected int, got True"),
        (changed(IMAGE, placeholder_id="126"), "placeholder_id: expected int, got '126'"),
        (changed(IMAGE, placeholder=""), "placeholder: '' is not one word"),
        (changed(IMAGE, placeholder="image"), "placeholder: 'image' is not one word"),
        (changed(IMAGE, placeholder="<an image>"), "placeholder: '<an image>' is not one word"),
        (changed(IMAGE, placeholder="<<image>>"), "placeholder: '<<image>>' is not one word"),
        (changed(IMAGE, colour="red"), "modalities.image: unknown key 'colour'"),
        (changed(IMAGE, encoder="clip"), "modalities.image.encoder: expected dict[str, Any], got 'clip'"),
        (changed(IMAGE, encoder__family="resnet"), "modalities.image.encoder.family: 'resnet' is not one of clip, "),
        (changed(IMAGE, encoder__family=["clip"]), "modalities.image.encoder.family: ['clip'] is not one of clip, "),
        (changed(IMAGE, encoder__variant="lite9"), "modalities.image.encoder.variant: 'lite9' is not one of lite0, "),
        (changed(IMAGE, encoder__size=224), "modalities.image.encoder: unknown key 'size'; known keys are variant"),
        (
            changed(IMAGE, projector__type="q"),
            "modalities.image.projector.type: 'q' is not one of conv, linear, mlp, mlp2x_gelu",
        ),
        (
            changed(IMAGE, projector={"type": "mlp2x_gelu", "tokens": 9}),
            "image.projector.tokens: 9, but mlp2x_gelu makes 1",
        ),
        (
            changed(IMAGE, projector={"type": "conv"}),
            "image.projector.kernel: 40 is longer than ",
        ),
        (changed(IMAGE, projector__tokens=0), "modalities.image.projector.tokens: 0 is outside 1..4096"),
        (changed(IMAGE, projector__tokens=2.0), "modalities.image.projector.tokens: expected int, got 2.0"),
        (changed(IMAGE, projector__drop=0.1), "modalities.image.projector: unknown key 'drop'"),
    ],
)
def test_refuses_modality(entry, message):
    with pytest.raises(ConfigurationError) as error:
        config(modalities={"image": entry})
    assert message in str(error.value)


def test_missing_keys_are_named():
    for key in ("encoder", "projector", "placeholder", "placeholder_id"):
        with pytest.raises(ConfigurationError, match=f"modalities.image: missing key '{key}'"):
            parse_modality("image", {name: value for name, value in IMAGE.items() if name != key})


def test_errors_survive_files(tmp_path):
    config().save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["modalities"]["image"]["projector"]["tokens"] = 0
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigurationError, match=r"modalities.image.projector.tokens: 0 is outside 1..4096"):
        AutoConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("size", "highest", "padded"),
    [(100, 50, 100), (100, 99, 100), (100, 100, 128), (128, 128, 192), (49152, 49153, 49216)],
)
def test_padded_vocabulary(size, highest, padded):
    assert padded_vocab_size(size, highest) == padded
