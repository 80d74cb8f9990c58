"""The served model: any language model vLLM knows, with one tower per modality in front of it.

The language model is vLLM's own implementation, chosen by `text_config`; towers are the reference model's modules.
Tensor names of the served directory: `encoders.<modality>.*` and `projectors.<modality>.*` go to the towers, everything
else belongs to the language model, with or without the prefix `language_model.`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    StageMissingLayer,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.sequence import IntermediateTensors

from model.configuration import QuartetConfig
from model.vllm_adapter.processing import INPUTS, QuartetDummyInputs, QuartetProcessingInfo, QuartetProcessor
from model.vllm_adapter.tower import Tower

TOWER = "_tower"


@MULTIMODAL_REGISTRY.register_processor(QuartetProcessor, info=QuartetProcessingInfo, dummy_inputs=QuartetDummyInputs)
class QuartetForConditionalGeneration(nn.Module, SupportsMultiModal, SupportsPP, SupportsLoRA):
    """vLLM model class of `architectures: [QuartetForConditionalGeneration]`."""

    # Read by the LoRA loader too: adapters of the bare language model (`model.layers...`) load unchanged.
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_regex={
            re.compile(r"^encoders\.([^.]+)\."): rf"\1{TOWER}.encoder.",
            re.compile(r"^projectors\.([^.]+)\."): rf"\1{TOWER}.projector.",
            re.compile(rf"^(?!language_model\.|[^.]+{TOWER}\.)"): "language_model.",
        }
    )
    # Left empty, vLLM takes the wrapped language model's.
    packed_modules_mapping: dict[str, list[str]] = {}

    # vLLM's base classes are opaque to the type checker, which would take these for tensors.
    _mark_tower_model: Any
    _mark_language_model: Any
    make_empty_intermediate_tensors: Any
    language_model: Any
    suppressed_token_ids: Tensor

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: QuartetConfig = vllm_config.model_config.hf_config
        self.config = config
        self.specs = config.modality_specs
        for name, spec in self.specs.items():
            # Not allocated when `--limit-mm-per-prompt` allows none of them.
            with self._mark_tower_model(vllm_config, name):
                setattr(self, f"{name}{TOWER}", Tower(spec, config.hidden_size))
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=config.get_text_config(),
                prefix=maybe_prefix(prefix, "language_model"),
            )
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors
        suppressed = torch.tensor(config.suppressed_token_ids, dtype=torch.long)
        self.register_buffer("suppressed_token_ids", suppressed, persistent=False)
        _pad_vocabulary(self.language_model)

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """Only used by chat templates that do not loop over content parts; ours always does."""
        return f"<|{modality.removesuffix('_embeds')}|>"

    def get_mm_mapping(self) -> MultiModelKeys:
        """Where the parts are, for LoRA."""
        return MultiModelKeys.from_string_field(
            language_model="language_model.",
            connector=[f"{name}{TOWER}.projector." for name in self.specs],
            tower_model=[f"{name}{TOWER}.encoder." for name in self.specs],
        )

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """Soft tokens `[tokens, hidden]` of every medium given, in the language model's dtype."""
        embeddings: list[Tensor] = []
        for name in self.specs:
            inputs = kwargs.get(f"{name}{INPUTS}")
            if inputs is not None:
                tower = getattr(self, f"{name}{TOWER}")
                embeddings += [tokens.to(self._dtype) for tokens in tower(list(inputs))]
        return embeddings

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        """Hidden states of the language model; soft tokens are already in `inputs_embeds`."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits `[n, vocabulary]`; media tokens and padding rows can never be sampled."""
        for tower in self.children():
            if isinstance(tower, Tower):
                tower.timing.settle()
        logits: Tensor | None = self.language_model.compute_logits(hidden_states)
        # None on tensor-parallel ranks that do not gather.
        return None if logits is None else logits.index_fill_(-1, self.suppressed_token_ids, float("-inf"))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load the language model through its own loader and each tower whole.

        Raises:
            CheckpointError: a tower's tensors are missing or do not fit.
        """
        towers: dict[str, dict[str, Tensor]] = defaultdict(dict)

        def language_model_weights() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in self.hf_to_vllm_mapper.apply(weights):
                part, _, rest = name.partition(".")
                if part.endswith(TOWER):
                    towers[part][rest] = tensor
                else:
                    yield name, tensor

        loaded: set[str] = AutoWeightsLoader(self).load_weights(language_model_weights())
        for modality in self.specs:
            part = f"{modality}{TOWER}"
            tower = getattr(self, part)
            if not isinstance(tower, StageMissingLayer):
                tower.load(towers[part])
                loaded |= {f"{part}.{name}" for name, _ in tower.named_parameters()}
        return loaded

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.language_model.parameters()).dtype


def _pad_vocabulary(language_model: nn.Module) -> None:
    """Let embedding and output layers accept tables with fewer rows than the padded vocabulary; the rest is zero.

    Media token ids lie behind the language model's own, and its weights on disk stay as they are.
    """
    for layer in language_model.modules():
        if isinstance(layer, VocabParallelEmbedding):
            for parameter in layer.parameters(recurse=False):
                loader = getattr(parameter, "weight_loader", None)
                if loader is not None and getattr(parameter, "output_dim", None) == 0:
                    parameter.weight_loader = _padded(loader, layer.org_vocab_size)


def _padded(loader: Callable[..., None], rows: int) -> Callable[..., None]:
    def load(parameter: nn.Parameter, weight: Tensor, *args: Any, **kwargs: Any) -> None:
        lacking = rows - weight.shape[0]
        if lacking > 0:
            weight = torch.cat([weight, weight.new_zeros(lacking, *weight.shape[1:])])
        loader(parameter, weight, *args, **kwargs)

    return load
