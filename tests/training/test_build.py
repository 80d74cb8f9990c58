"""Compiling the language model's layers: one graph per kind of batch, whatever the number of layers."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from model.adapter import AdapterConfig, adapter_layers, adapter_switched, add_adapter
from training.build import compile_layers

LAYERS = 3


@pytest.fixture
def llm() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=LAYERS, vocab_size=64, **sizes)).requires_grad_(False)
    add_adapter(model, AdapterConfig(rank=2))
    for layer in adapter_layers(model):
        # Or else it changes nothing yet.
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    return model


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """What is compiled, as a compiler that only writes it down is given it; the real one takes ten seconds for each."""
    found: list[torch.fx.GraphModule] = []

    def note(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        found.append(graph)
        return graph.forward

    limit = torch._dynamo.config.recompile_limit
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=note))
    yield found
    torch._dynamo.config.recompile_limit = limit
    torch._dynamo.reset()


def gradients(llm: LlamaForCausalLM, rows: int, length: int, *, adapted: bool) -> dict[str, Tensor]:
    """Of the embeddings and of the adapter, for one fixed batch."""
    llm.zero_grad()
    ids = torch.arange(rows * length).reshape(rows, length) % 64
    embeddings = llm.get_input_embeddings()(ids).requires_grad_()
    with adapter_switched(adapter_layers(llm), adapted):
        llm(inputs_embeds=embeddings, use_cache=False).logits.square().mean().backward()
    assert embeddings.grad is not None
    trained = {name: p.grad.clone() for name, p in llm.named_parameters() if p.grad is not None}
    return {"embeddings": embeddings.grad, **trained}


def test_one_layer_is_compiled_for_all(llm: LlamaForCausalLM, graphs: list[torch.fx.GraphModule]) -> None:
    batches = [(2, 8, True), (1, 16, True), (2, 8, False), (2, 8, True)]
    plain = [gradients(llm, rows, length, adapted=adapted) for rows, length, adapted in batches]
    compile_layers(llm)
    for (rows, length, adapted), expected in zip(batches, plain, strict=True):
        found = gradients(llm, rows, length, adapted=adapted)
        assert found.keys() == expected.keys()
        assert len(found) == 1 + (4 * LAYERS if adapted else 0), "two matrices for each of two targets of a layer"
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)
    assert len(graphs) == 3, "one for each kind of batch, not for each of the layers"


def test_no_kind_of_batch_is_left_uncompiled(llm: LlamaForCausalLM, graphs: list[torch.fx.GraphModule]) -> None:
    compile_layers(llm)
    lengths = range(4, 16)
    assert len(lengths) > 8, "more than torch compiles by itself"
    for length in lengths:
        gradients(llm, 1, length, adapted=True)
    assert len(graphs) == len(lengths)
