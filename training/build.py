"""The model that a recipe trains: language model with an adapter, projectors started as the recipe asks for."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.adapter import add_adapter, restore_adapter
from model.checkpoint import Checkpoint
from model.configuration import QuartetConfig
from model.errors import ConfigurationError, DataError
from model.llm import load_llm, pad_embeddings
from model.projectors import Projector
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from training.cache import OnTheFly
from training.data import Sample
from training.initialise import ConceptGroup, start_projector
from training.parts import Parts

# Media whose features are asked for at once.
CHUNK = 256
# Kinds of batches that layers are compiled for.
SHAPES = 64


def build_model(
    parts: Parts,
    config: QuartetConfig,
    groups: Mapping[str, Sequence[ConceptGroup]],
    prompt: Prompt,
    start: Checkpoint | None = None,
) -> QuartetForConditionalGeneration:
    """The model before its first step, new or as in `start`; without the encoders whose features are cached."""
    recipe = parts.recipe
    # Only here: how much randomness was used before depends on what was found in the cache.
    torch.manual_seed(recipe.seed)
    # Updates of the language model's own weights are too small for less.
    llm = load_llm(parts.llm, torch.float32 if recipe.trains_llm else getattr(torch, recipe.dtype))
    pad_embeddings(llm, config.get_text_config().vocab_size)
    llm.requires_grad_(False)
    if recipe.adapter is not None:
        try:
            add_adapter(llm, recipe.adapter)
        except ConfigurationError as error:
            raise ConfigurationError(f"adapter.{error}") from None
        if start is not None and start.adapter is not None:
            restore_adapter(llm, start.adapter)
    # The trainer writes its own settings into the model's configuration; the checkpoint keeps the clean one.
    model = QuartetForConditionalGeneration(copy.deepcopy(config), llm)
    if start is None:
        start_projectors(model, parts, groups, prompt)
    else:
        model.projectors.load_state_dict(start.projector_state())
    for name in recipe.modalities:
        features = parts.caches[name]
        # One whose features are cached would only take memory.
        model.encoders[name] = features.module if isinstance(features, OnTheFly) else nn.Identity()
    if recipe.compile:
        compile_layers(llm)
    return model


def start_projectors(
    model: QuartetForConditionalGeneration,
    parts: Parts,
    groups: Mapping[str, Sequence[ConceptGroup]],
    prompt: Prompt,
) -> None:
    """Start the new projectors of a model as the recipe says, in place.

    Raises:
        ConfigurationError, DataError: as `start_projector`, by modality.
    """
    for name, modality in parts.recipe.modalities.items():
        samples, projector = parts.single(name), model.projectors[name]
        assert isinstance(projector, Projector)
        try:
            start_projector(
                projector,
                modality.initialisation.type,
                features=pooled_features(parts, name, samples),
                answers=[sample.answer for sample in samples],
                groups=groups[name],
                tokenizer=prompt.tokenizer,
                embeddings=model.language_model.get_input_embeddings().weight.detach(),
            )
        except (ConfigurationError, DataError) as error:
            raise type(error)(f"modalities.{name}.{error}") from None


@torch.no_grad()
def pooled_features(parts: Parts, modality: str, samples: Sequence[Sample]) -> Tensor:
    """Features `[n, dim]` of the one medium of each sample; none where the encoder does not pool."""
    cache = parts.caches[modality]
    if cache.config.length != 1 or not samples:
        return torch.empty(0, cache.config.dim)
    references = [sample.media[0] for sample in samples]
    # Media that are encoded now are in memory, decoded, until they are.
    chunks = [references[start : start + CHUNK] for start in range(0, len(references), CHUNK)]
    return torch.cat([cache.stack(chunk)[:, 0].cpu() for chunk in chunks])


def compile_layers(llm: PreTrainedModel) -> None:
    """Compile the language model's layers in place, one kernel set per batch shape.

    All layers share their code, so one of them is compiled for all: an n-th of the time and of the memory that the
    whole decoder takes. On a CPU the plain attention is fused by the compiler, while the backward pass of the fused
    kernel that eager mode uses takes a quarter of a step.
    """
    if not torch.cuda.is_available():
        llm.set_attn_implementation("eager")
    # Every padded length, with and without an adapter; beyond the limit, torch would quietly compile no more.
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    for layer in llm.get_decoder().layers:
        layer.forward = torch.compile(layer.forward, dynamic=False)
