"""The reference model: the language model unchanged on text, media where they were put, the plain loss."""

import copy

import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    Phi3Config,
    PhiConfig,
    Qwen3Config,
)

from model.configuration import QuartetConfig
from model.errors import PromptError
from model.llm import load_llm, pad_embeddings
from model.media import Sound
from model.prompt import IGNORE
from model.reference import QuartetForConditionalGeneration
from tests.support.tiny import LLMS, picture, sound

SIZES = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
OTHER_LLMS = {
    "gemma": GemmaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, final_logit_softcapping=2.0, query_pre_attn_scalar=16),
    "gemma3": Gemma3TextConfig(**SIZES, final_logit_softcapping=3.0, query_pre_attn_scalar=16),
    "granite": GraniteConfig(**SIZES, logits_scaling=4.0, embedding_multiplier=3.0, residual_multiplier=0.5),
    "cohere": CohereConfig(**SIZES, logit_scale=0.25),
    "phi": PhiConfig(**{k: v for k, v in SIZES.items() if k != "head_dim"}),
    "phi3": Phi3Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "gpt_neox": GPTNeoXConfig(**{k: v for k, v in SIZES.items() if k not in ("head_dim", "num_key_value_heads")}),
    "gpt2": GPT2Config(
        vocab_size=320, n_embd=64, n_layer=2, n_head=4, initializer_range=0.3, bos_token_id=1, eos_token_id=2
    ),
}
MODALITIES = {
    "image": {
        "encoder": {"family": "clip", "config": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                                                 "num_attention_heads": 2, "image_size": 16, "patch_size": 8}},
        "projector": {"type": "mlp", "tokens": 3, "hidden_size": 8},
        "placeholder": "<|image|>",
        "placeholder_id": 320,
    },
    "audio": {
        "encoder": {"family": "whisper", "d_model": 16, "layers": 1, "heads": 2, "ffn_dim": 16},
        "projector": {"type": "mlp", "tokens": 2, "hidden_size": 8},
        "placeholder": "<|audio|>",
        "placeholder_id": 321,
    },
}  # fmt: skip
IMAGE, AUDIO = 320, 321


def wrap(text_config):
    """The bare language model, and the Quartet model around a copy of it."""
    torch.manual_seed(0)
    # Said, because building a model writes its type into the configuration, which other tests share.
    llm = AutoModelForCausalLM.from_config(text_config, dtype=torch.float32).eval()
    values = {**text_config.to_dict(), "vocab_size": 384, "dtype": "float32"}
    config = QuartetConfig(text_config=values, modalities=copy.deepcopy(MODALITIES), llm_vocab_size=320)
    inner = copy.deepcopy(llm)
    pad_embeddings(inner, 384)
    return llm, QuartetForConditionalGeneration(config, inner).eval()


@pytest.fixture(scope="module", params=[*LLMS, *OTHER_LLMS])
def pair(request):
    return wrap((LLMS | OTHER_LLMS)[request.param])


@pytest.fixture(scope="module")
def model():
    return wrap(LLMS["llama"])[1]


def random_ids(*shape, seed=0):
    return torch.randint(3, 320, shape, generator=torch.Generator().manual_seed(seed))


def features_for(model, images=0, sounds=0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    dims = {name: spec.encoder.dim for name, spec in model.config.modality_specs.items()}
    counts = {"image": images, "audio": sounds}
    return {name: torch.randn(n, 1, dims[name], generator=generator) for name, n in counts.items() if n}


# ------------------------------------------------------------------------------------------------ text only


@torch.no_grad()
def test_text_only_logits_are_the_language_models_own(pair):
    llm, model = pair
    ids = random_ids(2, 9)
    logits = model(ids).logits
    assert logits.shape == (2, 9, 384)
    assert torch.equal(logits[..., :320], llm(ids).logits)
    assert torch.isinf(logits[..., 320:]).all()


@torch.no_grad()
def test_text_only_answer_is_the_language_models_own(pair):
    llm, model = pair
    for seed in range(3):
        ids = random_ids(1, 7, seed=seed)
        expected = llm.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=2
        )[0, 7:]
        answer = model.answer(ids[0].tolist(), max_tokens=12)
        assert answer.token_ids == expected.tolist()


@torch.no_grad()
def test_logprobs_are_those_of_the_whole_sequence(pair):
    """With and without key-value cache."""
    _, model = pair
    ids = [5, IMAGE, IMAGE, IMAGE, 9, AUDIO, AUDIO, 7]
    features = features_for(model, 1, 1)
    answer = model.answer(ids, features, max_tokens=6)
    whole = model(torch.tensor([ids + answer.token_ids]), features=features).logits.float().log_softmax(-1)
    again = [whole[0, len(ids) - 1 + i, token].item() for i, token in enumerate(answer.token_ids)]
    assert answer.logprobs == pytest.approx(again, abs=1e-4)
    assert all(whole[0, len(ids) - 1 + i].argmax() == token for i, token in enumerate(answer.token_ids))


# -------------------------------------------------------------------------------------------- where media go


@torch.no_grad()
def test_soft_tokens_stand_at_their_placeholders_in_reading_order(model):
    features = features_for(model, images=3, sounds=2)
    ids = torch.tensor(
        [
            [7, IMAGE, IMAGE, IMAGE, AUDIO, AUDIO, 8, IMAGE, IMAGE, IMAGE],
            [AUDIO, AUDIO, 9, 0, 0, IMAGE, IMAGE, IMAGE, 10, 11],
        ]
    )
    embeddings = model.embed(ids, features)
    table = model.get_input_embeddings().weight
    image, sound_ = model.project("image", features["image"]), model.project("audio", features["audio"])
    first = torch.cat([table[[7]], image[0], sound_[0], table[[8]], image[1]])
    second = torch.cat([sound_[1], table[[9, 0, 0]], image[2], table[[10, 11]]])
    assert torch.equal(embeddings, torch.stack([first, second]))


@torch.no_grad()
def test_swapping_two_media_changes_the_answer(model):
    ids = [5, IMAGE, IMAGE, IMAGE, 6, IMAGE, IMAGE, IMAGE, 7]
    features = features_for(model, images=2)
    swapped = {"image": 40 * features["image"].flip(0)}
    answers = [model.answer(ids, given, max_tokens=8) for given in ({"image": 40 * features["image"]}, swapped)]
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("ids", "images", "sounds", "message"),
    [
        ([5, IMAGE, IMAGE, IMAGE], 0, 0, "1 image placeholders in the prompt for 0 image media (3 positions, 3 each)"),
        ([5, 6], 1, 0, "0 image placeholders in the prompt for 1 image media"),
        ([IMAGE] * 6, 1, 0, "2 image placeholders in the prompt for 1 image media"),
        ([IMAGE] * 3, 2, 0, "1 image placeholders in the prompt for 2 image media"),
        ([IMAGE] * 4, 1, 0, "1 image placeholders in the prompt for 1 image media (4 positions, 3 each)"),
        ([IMAGE] * 3 + [AUDIO] * 2, 1, 2, "1 audio placeholders in the prompt for 2 audio media"),
    ],
)
def test_counts_that_do_not_match(model, ids, images, sounds, message):
    with pytest.raises(PromptError) as error:
        model(torch.tensor([ids]), features=features_for(model, images, sounds))
    assert message in str(error.value)


def test_unknown_modality(model):
    with pytest.raises(PromptError, match="this model has no video input; it has image, audio"):
        model(torch.tensor([[5]]), features={"video": torch.ones(1, 1, 4)})


@torch.no_grad()
def test_encode_gives_what_the_encoders_give(model):
    specs = model.config.modality_specs
    media = {"image": [picture(s) for s in range(3)], "audio": [Sound(sound(s, 0.3), 16_000) for s in range(2)]}
    for name, items in media.items():
        inputs = specs[name].encoder.preprocess_many(items)
        features = model.encode(name, inputs)
        assert [tuple(feature.shape) for feature in features] == [(1, specs[name].encoder.dim)] * len(items)
        torch.testing.assert_close(features[1], model.encoders[name](inputs[1][None])[0], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------- suppression


@torch.no_grad()
def test_media_tokens_and_padding_rows_are_never_an_answer(model):
    hot = copy.deepcopy(model)
    head = hot.get_output_embeddings()
    head.weight = torch.nn.Parameter(torch.zeros_like(head.weight))
    head.weight[320:] = 100 * hot.get_input_embeddings().weight[:64]
    answer = hot.answer([5, 6, 7], max_tokens=8)
    assert all(token < 320 for token in answer.token_ids)
    assert hot.config.suppressed_token_ids == list(range(320, 384))
    probabilities = hot(torch.tensor([[5, 6]])).logits.softmax(-1)
    assert probabilities[..., 320:].sum() == 0


def test_placeholder_inside_the_language_models_own_vocabulary():
    modalities = {"image": {**MODALITIES["image"], "placeholder_id": 300}}
    config = QuartetConfig(text_config=LLMS["llama"].to_dict(), modalities=modalities)
    assert config.suppressed_token_ids == [300]
    model = QuartetForConditionalGeneration(config).eval()
    logits = model(torch.tensor([[5, 6]])).logits
    assert torch.isinf(logits[..., 300]).all()
    assert torch.isfinite(logits[..., 301:]).all()


# -------------------------------------------------------------------------------------------------- training


def test_loss_is_the_plain_one(pair):
    """Logits are computed only where a label asks for one; the loss and its gradients are those of all logits."""
    _, model = pair
    features = features_for(model, images=2, sounds=1)
    ids = torch.cat(
        [random_ids(2, 4), torch.tensor([[IMAGE] * 3 + [AUDIO] * 2, [8] + [IMAGE] * 3 + [9]]), random_ids(2, 6)], 1
    )
    labels = ids.clone()
    labels[:, :10] = IGNORE
    labels[1, 13:] = IGNORE
    mask = torch.ones_like(ids)
    mask[1, 13:] = 0

    output = model(ids, mask, features, labels)
    assert output.logits.shape == (5 + 3, 384)
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.projectors.named_parameters()}
    model.zero_grad()

    logits = model(ids, mask, features).logits[:, :-1].float()
    naive = functional.cross_entropy(logits.reshape(-1, 384), labels[:, 1:].reshape(-1), ignore_index=IGNORE)
    naive.backward()
    torch.testing.assert_close(output.loss, naive)
    for name, parameter in model.projectors.named_parameters():
        assert gradients[name].abs().sum() > 0
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6)
    model.zero_grad()
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_adapters_train_beside_projectors(model):
    from peft import LoraConfig, get_peft_model

    adapted = copy.deepcopy(model)
    adapted.language_model = get_peft_model(adapted.language_model, LoraConfig(r=2, target_modules=["q_proj"]))
    ids = torch.tensor([[5, IMAGE, IMAGE, IMAGE, 6, 7]])
    features = features_for(model, images=1)
    loss = adapted(ids, features=features, labels=torch.where(ids == IMAGE, IGNORE, ids)).loss
    torch.testing.assert_close(loss, model(ids, features=features, labels=torch.where(ids == IMAGE, IGNORE, ids)).loss)
    loss.backward()
    trained = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert any("lora_B" in name for name in trained)
    assert any(name.startswith("projectors.image") for name in trained)
    assert not any("embed_tokens" in name for name in trained)


def test_a_failing_forward_leaves_no_hook_behind(model, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model.language_model.model, "forward", fail)
    ids = random_ids(1, 5)
    with pytest.raises(RuntimeError, match="out of memory"):
        model(ids, labels=ids)
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_encoders_are_frozen_and_projectors_are_not(model):
    assert not any(parameter.requires_grad for parameter in model.encoders.parameters())
    assert all(parameter.requires_grad for parameter in model.projectors.parameters())


@torch.no_grad()
def test_padding_on_the_right_changes_nothing(model):
    ids = torch.tensor([[5, IMAGE, IMAGE, IMAGE, 6]])
    features = features_for(model, images=1)
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.long)], 1)
    mask = (padded != 0).long()
    alone = model(ids, features=features).logits
    torch.testing.assert_close(model(padded, mask, features).logits[:, :5], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_answers_to_many_prompts_are_those_to_each(pair):
    """Prompts of other lengths are padded and masked; an answer that has ended stays as it is."""
    _, model = pair
    prompts = [[5, IMAGE, IMAGE, IMAGE, 9], [4, 8, 15, 16, 23, 42, 7], [IMAGE, IMAGE, IMAGE, AUDIO, AUDIO, 6], [9]]
    features = features_for(model, images=2, sounds=1)
    given = [{"image": features["image"][:1]}, {}, {"image": features["image"][1:], "audio": features["audio"]}, {}]
    alone = [model.answer(ids, media, max_tokens=10).token_ids for ids, media in zip(prompts, given, strict=True)]
    assert model.answers(prompts, features, max_tokens=10) == alone


# ----------------------------------------------------------------------------------------------------- dtype


@torch.no_grad()
def test_towers_stay_in_float32_beside_a_bfloat16_language_model(shared):
    model = shared.load(torch.bfloat16)
    assert model.language_model.dtype == torch.bfloat16
    for parameter in (*model.encoders.parameters(), *model.projectors.parameters()):
        assert parameter.dtype == torch.float32
    features = torch.randn(1, 1, 32)
    exact = shared.load().project("image", features)
    assert torch.equal(model.project("image", features), exact.to(torch.bfloat16))
    assert model.answer([5, *[model.config.media_token_ids["image"]] * 4, 6], {"image": features}, max_tokens=2)


def test_stop_tokens_of_configuration_and_generation_configuration(shared):
    model = shared.load()
    assert model._stop_ids() == {2}
    model.language_model.generation_config.eos_token_id = [2, 7]
    assert model._stop_ids() == {2, 7}
    model.config.get_text_config().eos_token_id = None
    assert model._stop_ids() == {2, 7}


def test_padding_the_vocabulary_keeps_the_language_model(shared):
    for tied in (True, False):
        text = copy.deepcopy(LLMS["llama"])
        text.tie_word_embeddings = tied
        llm = AutoModelForCausalLM.from_config(text)
        before = llm.get_input_embeddings().weight.detach().clone()
        pad_embeddings(llm, 384)
        table, head = llm.get_input_embeddings(), llm.get_output_embeddings()
        assert table.weight.shape == head.weight.shape == (384, 64)
        assert torch.equal(table.weight[:320], before)
        assert table.weight[320:].abs().sum() == 0
        assert (table.weight is head.weight) == tied
        assert (table.num_embeddings, head.out_features, llm.config.vocab_size) == (384, 384, 384)
        pad_embeddings(llm, 100)
        assert len(table.weight) == 384
    assert load_llm(shared.llm, "auto").config.vocab_size == 320
