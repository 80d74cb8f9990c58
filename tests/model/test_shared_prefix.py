"""A prefix that is computed once: the loss and every gradient are those of rows that stand alone."""

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, MambaConfig, MistralConfig

from model import shared_prefix
from model.prompt import IGNORE
from model.shared_prefix import IMPLEMENTATION, Layout, can_share, sharing
from tests.model.test_reference import AUDIO, IMAGE, OTHER_LLMS, SIZES, wrap

PREFIX = 5
LLAMA = LlamaConfig(**SIZES)
SHARING = {name: config for name, config in OTHER_LLMS.items() if name not in ("gemma2",)} | {
    "llama": LLAMA,
    "mistral": MistralConfig(**SIZES, sliding_window=None),
}
NOT_SHARING = {
    "attention with a cap": OTHER_LLMS["gemma2"],
    "no positions": BloomConfig(vocab_size=320, hidden_size=64, n_layer=2, n_head=4, initializer_range=0.3),
    "no attention": MambaConfig(vocab_size=320, hidden_size=64, num_hidden_layers=2, initializer_range=0.3),
}


def batch(prefix=PREFIX):
    """Three rows of a batch, padded to the longest, with media of their own; all begin with the same tokens."""
    rows = [
        ([7] * prefix + [20, IMAGE, IMAGE, IMAGE, 21, 22, 23], 4),
        ([7] * prefix + [30, AUDIO, AUDIO, 31, IMAGE, IMAGE, IMAGE, 32, 33], 8),
        ([7] * prefix + [AUDIO, AUDIO, 40], 2),
    ]
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE)
    for row, (tokens, first) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, prefix + first : len(tokens)] = torch.tensor(tokens[prefix + first :])
    generator = torch.Generator().manual_seed(1)
    features = {
        "image": torch.randn(2, 1, 32, generator=generator),
        "audio": torch.randn(2, 1, 16, generator=generator),
    }
    return ids, labels, features


def learn(model, **given):
    """The loss, and what every parameter would be changed by."""
    model.zero_grad()
    loss = model(**given).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_the_plain_layout(name, checkpointing):
    _, model = wrap(SHARING[name])
    assert can_share(model.language_model, PREFIX, 16)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids, labels, features = batch()
    plain, expected = learn(model, input_ids=ids, labels=labels, features=features)
    with sharing(model.language_model):
        loss, found = learn(model, input_ids=ids, labels=labels, features=features, prefix=PREFIX)
        again, _ = learn(model, input_ids=ids, labels=labels, features=features)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(again, plain, msg="plain rows are still plain rows")
    assert found.keys() == expected.keys()
    assert any("q_proj" in key or "qkv" in key or "query" in key or "c_attn" in key for key in found)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", NOT_SHARING)
def test_a_language_model_that_cannot_share_is_found_out(name):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(NOT_SHARING[name], dtype=torch.float32)
    before = llm.config._attn_implementation
    assert not can_share(llm, PREFIX, 16)
    assert llm.config._attn_implementation == before
    assert llm.training


def test_a_window_of_attention_must_hold_the_rows():
    llm = AutoModelForCausalLM.from_config(MistralConfig(**SIZES, sliding_window=16))
    assert can_share(llm, PREFIX, 16)
    assert not can_share(llm, PREFIX, 17)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prefix", [1, 40])
def test_any_prefix_in_any_precision(dtype, prefix):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(LLAMA, dtype=dtype)
    assert can_share(llm, prefix, 100)


def test_the_fused_kernel_gives_the_same(monkeypatch):
    _, model = wrap(LLAMA)
    ids, labels, features = batch()
    with sharing(model.language_model):
        plain, expected = learn(model, input_ids=ids, labels=labels, features=features, prefix=PREFIX)
        monkeypatch.setattr(shared_prefix, "_plain", shared_prefix._fused)
        loss, found = learn(model, input_ids=ids, labels=labels, features=features, prefix=PREFIX)
    torch.testing.assert_close(loss, plain)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("fused", [False, True])
def test_weights_in_float32_are_computed_with_in_bfloat16(monkeypatch, fused):
    _, model = wrap(LLAMA)
    ids, labels, features = batch()
    if fused:
        monkeypatch.setattr(shared_prefix, "_plain", shared_prefix._fused)
    with torch.autocast("cpu", torch.bfloat16):
        plain, _ = learn(model, input_ids=ids, labels=labels, features=features)
        with sharing(model.language_model):
            loss, found = learn(model, input_ids=ids, labels=labels, features=features, prefix=PREFIX)
    torch.testing.assert_close(loss, plain, rtol=2e-2, atol=0)
    assert all(gradient.isfinite().all() for gradient in found.values())


def test_the_implementation_is_given_back():
    llm = AutoModelForCausalLM.from_config(LLAMA)
    before = llm.config._attn_implementation
    with sharing(llm):
        assert llm.config._attn_implementation == IMPLEMENTATION
    assert llm.config._attn_implementation == before

    def fail() -> None:
        with sharing(llm):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert llm.config._attn_implementation == before


def test_a_layout_holds_every_token_once():
    states = torch.arange(3 * 7).reshape(3, 7, 1).float()
    states[:, :2] = states[0, :2]
    layout = Layout(2, rows=3, length=5)
    flat = layout.flat(states)
    assert flat.shape == (1, 17, 1)
    assert torch.equal(layout.behind(flat), states[:, 2:])
    assert layout.positions(flat.device).tolist() == [[0, 1, *([2, 3, 4, 5, 6] * 3)]]
    assert layout.mask(torch.float32, flat.device).isinf().sum() == 4 * 5 / 2
