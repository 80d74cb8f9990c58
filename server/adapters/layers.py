"""Which layers of the language model an adapter may change: its linear ones, with their sizes, but not the head."""

from typing import TYPE_CHECKING

from server.adapters.files import Layers

if TYPE_CHECKING:
    from model.configuration import QuartetConfig


def linear_layers(config: "QuartetConfig") -> Layers:
    """Name of a layer in the bare language model -> (inputs, outputs); no weights are loaded for it."""
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config.get_text_config())
    head = model.get_output_embeddings()
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
