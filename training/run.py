"""From a recipe and a corpus to a checkpoint that is served as it is.

output/
  checkpoint/            the Quartet checkpoint
  stage-<name>/          trainer state, for --resume
  log.jsonl, loss.png    the loss curve
"""

import copy
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.checkpoint import Checkpoint, Provenance, build_config, compare
from model.encoders import encoder_config, load_state
from model.errors import ConfigurationError, DataError
from model.llm import llm_directory, load_llm, load_tokenizer, pad_embeddings
from model.projectors.mlp import Mlp
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from model.sources import Source, cache_directory, fetch
from training.cache import FeatureCache
from training.corpus.phrases import question
from training.data import MediaRef, Sample, read_samples
from training.dataset import Collator, Conversations, Row, fill_rows
from training.dream import dream
from training.initialise import (
    ConceptGroup,
    name_embeddings,
    standardise,
    start_from_names,
    start_from_ridge,
)
from training.probe import fit_probe
from training.recipe import RECIPES, Concepts, ModalityRecipe, Recipe
from training.report import draw_loss
from training.trainer import train_stage

CONCEPTS = "concepts"
# The name of "none of these": media of other tasks, which a group of concepts must stay silent about.
NOTHING = "(none of these)"


@dataclass(frozen=True)
class Parts:
    """What a run is built from, before anything is trained."""

    recipe: Recipe
    llm: Path
    weights: dict[str, Path]
    """Per modality, the encoder's weights."""
    caches: dict[str, FeatureCache]
    samples: dict[str, list[Sample]]
    """Per corpus source, the training samples."""


def run(recipe: Recipe, corpus: Path, output: Path, *, resume: bool = False, command: str = "") -> Checkpoint:
    """Train a recipe on a corpus and write a checkpoint.

    Raises:
        ConfigurationError, DataError, SourceError: before training starts, by file and key.
    """
    torch.manual_seed(recipe.seed)
    output.mkdir(parents=True, exist_ok=True)
    parts = prepare(recipe, corpus)
    groups = {name: concept_groups(parts, name) for name in recipe.modalities}
    config = build_config(parts.llm, {name: _entry(m, groups[name]) for name, m in recipe.modalities.items()})
    tokenizer = load_tokenizer(parts.llm, config)
    prompt = Prompt(tokenizer, config)
    llm = load_llm(parts.llm, getattr(torch, recipe.dtype))
    pad_embeddings(llm, config.get_text_config().vocab_size)
    llm.requires_grad_(False)
    # The trainer writes its own settings into the model's configuration; the checkpoint keeps the clean one.
    model = QuartetForConditionalGeneration(copy.deepcopy(config), llm)
    for name in recipe.modalities:
        initialise(model, parts, name, groups[name], prompt)
        # Features come from the cache; the encoder would only take memory.
        model.encoders[name] = nn.Identity()
    if recipe.compile:
        compile_decoder(llm)
    parts.samples[CONCEPTS] = dreamed_samples(parts, groups, output)
    log: list[dict[str, Any]] = []
    counts: dict[str, Any] = {}
    for stage in recipe.stages:
        rows: list[Row] = []
        for mixture in stage.data:
            chosen = repeat(parts.samples.get(mixture.source), mixture.source, mixture.passes, recipe.seed, corpus)
            counts[f"{stage.name}/{mixture.source}"] = len(chosen)
            rows += fill_rows(chosen, prompt, turns=mixture.turns, max_length=stage.max_length, seed=recipe.seed)
        lengths = [stage.max_length // 2, stage.max_length]
        collator = Collator(config, parts.caches, lengths, pad=int(tokenizer.pad_token_id or 0))
        folder = output / f"stage-{stage.name}"
        stage_log = train_stage(model, stage, Conversations(rows), collator, folder, seed=recipe.seed, resume=resume)
        log += [{"stage": stage.name, **entry} for entry in stage_log]
    (output / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    draw_loss(log, output / "loss.png")
    provenance = Provenance(
        llm=recipe.llm,
        encoders={name: modality.part for name, modality in recipe.modalities.items()},
        training={
            "command": command,
            "seed": recipe.seed,
            "samples": counts,
            "media": {name: len(_media(parts.samples, name)) for name in recipe.modalities},
            "versions": {name: version(name) for name in ("torch", "transformers")},
        },
    )
    return Checkpoint.save(output / "checkpoint", config, model.projectors, provenance, dtype=torch.float16)


def compile_decoder(llm: PreTrainedModel) -> None:
    """Compile the language model's layers in place, one kernel set per batch shape.

    On a CPU the plain attention is fused by the compiler, while the backward pass of the fused kernel that eager mode
    uses takes a quarter of a step.
    """
    if not torch.cuda.is_available():
        llm.set_attn_implementation("eager")
    decoder = llm.get_decoder()
    decoder.forward = torch.compile(decoder.forward, dynamic=False)


def prepare(recipe: Recipe, corpus: Path) -> Parts:
    """Fetch the frozen parts, read the corpus and make sure that every medium is in the feature cache."""
    names = list(dict.fromkeys(m.source for stage in recipe.stages for m in stage.data if m.source != CONCEPTS))
    samples = {name: read_samples(corpus / name / "train.jsonl") for name in names}
    llm = llm_directory(fetch(Source.parse(recipe.llm.source), sha256=recipe.llm.sha256), recipe.llm.sha256)
    weights = {n: fetch(Source.parse(m.source), sha256=m.sha256) for n, m in recipe.modalities.items()}
    caches = {n: open_cache(m.encoder, m.sha256) for n, m in recipe.modalities.items()}
    for name, cache in caches.items():
        state = cache.config.convert(load_state(weights[name]))
        encode_media(cache, _media(samples, name), state)
    return Parts(recipe, llm, weights, caches, samples)


def open_cache(encoder: Mapping[str, Any], sha256: str) -> FeatureCache:
    """The feature cache of an encoder, in the user's cache directory."""
    return FeatureCache(cache_directory() / "features", encoder_config(encoder), sha256)


def encode_media(cache: FeatureCache, references: list[MediaRef], state: Mapping[str, Tensor]) -> None:
    """Encode what is not cached yet; `state` holds the encoder's weights under the module's names.

    Raises:
        CheckpointError: the weights are not those of the configured encoder.
    """

    def build() -> nn.Module:
        module = cache.config.build().eval()
        compare(state, module.state_dict(), f"weights of the {cache.config.family} encoder")
        # Not strict only because of batch-norm counters, which some files lack.
        module.load_state_dict(state, strict=False)
        return module

    cache.ensure(references, build)


def concept_groups(parts: Parts, modality: str) -> list[ConceptGroup]:
    """Named concepts of a modality, as its recipe asks for."""
    return [_group(parts, modality, c) for c in parts.recipe.modalities[modality].initialisation.concepts]


def initialise(
    model: QuartetForConditionalGeneration, parts: Parts, modality: str, groups: list[ConceptGroup], prompt: Prompt
) -> None:
    """Start one projector as its recipe asks for."""
    projector, kind = model.projectors[modality], parts.recipe.modalities[modality].initialisation.type
    if kind == "random":
        return
    if not isinstance(projector, Mlp):
        raise ConfigurationError(f"modalities.{modality}.initialisation: {kind} needs the mlp projector")
    embeddings = model.get_input_embeddings().weight.detach()
    cache = parts.caches[modality]
    answered = [s for samples in parts.samples.values() for s in samples if [m.modality for m in s.media] == [modality]]
    features = cache.stack([sample.media[0] for sample in answered])[:, 0]
    standardise(projector, features)
    if kind == "names":
        start_from_names(projector, groups, prompt.tokenizer, embeddings)
    else:
        targets = name_embeddings(
            [sample.answer for sample in answered], prompt.tokenizer, embeddings, projector.config.tokens
        )
        start_from_ridge(projector, features, targets)


def dreamed_samples(parts: Parts, groups: dict[str, list[ConceptGroup]], output: Path) -> list[Sample]:
    """Synthetic features of the encoders' own classes, as samples that ask for the name."""
    samples: list[Sample] = []
    for modality, recipe in parts.recipe.modalities.items():
        for concepts, group in zip(recipe.initialisation.concepts, groups[modality], strict=True):
            if concepts.per_class:
                samples += _dream(parts, modality, concepts, group, output)
    return samples


def read_names(path: Path) -> list[str]:
    """Names of an encoder's classes, one per line in the order of its head; lines that start with # are comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def repeat(samples: list[Sample] | None, source: str, passes: float, seed: int, corpus: Path) -> list[Sample]:
    """Each sample `passes` times; a fraction takes a random part."""
    if not samples:
        raise DataError(f"source {source!r}: {corpus / source / 'train.jsonl'} gave no samples")
    whole, rest = divmod(passes, 1.0)
    part = random.Random(seed).sample(samples, round(rest * len(samples)))
    return samples * int(whole) + part


def _entry(modality: ModalityRecipe, groups: list[ConceptGroup]) -> dict[str, Any]:
    projector = dict(modality.projector)
    if groups:
        projector["groups"] = [len(group.names) for group in groups]
    entry: dict[str, Any] = {"encoder": modality.encoder, "projector": projector}
    return entry if modality.placeholder is None else {**entry, "placeholder": modality.placeholder}


def _group(parts: Parts, modality: str, concepts: Concepts) -> ConceptGroup:
    if concepts.names:
        head = parts.caches[modality].config.classifier(parts.weights[modality])
        if head is None:
            raise ConfigurationError(f"modalities.{modality}.initialisation: this encoder has no classes of its own")
        names: list[str | None] = list(read_names(RECIPES / concepts.names))
        if len(names) != len(head[1]):
            raise ConfigurationError(f"{concepts.names}: {len(names)} names for {len(head[1])} classes")
        weight, bias = head
    else:
        by_path: dict[MediaRef, str] = {}
        others: set[MediaRef] = set()
        sources = {task.split("/")[0] for task in concepts.tasks}
        for sample in (s for samples in parts.samples.values() for s in samples if "label" in s.meta):
            if [ref.modality for ref in sample.media] != [modality]:
                continue
            if sample.task in concepts.tasks:
                by_path[sample.media[0]] = str(sample.meta["label"])
            elif sample.task.split("/")[0] not in sources:
                # Media of another source show none of these; those of the same source may, unasked.
                others.add(sample.media[0])
        if not by_path:
            raise ConfigurationError(f"tasks: no labelled training media for {', '.join(concepts.tasks)}")
        silent = sorted(others - set(by_path), key=lambda ref: str(ref.path))
        silent = random.Random(parts.recipe.seed).sample(silent, min(len(silent), len(by_path) // 2))
        labelled = {**by_path, **dict.fromkeys(silent, NOTHING)}
        probe = fit_probe(parts.caches[modality].stack(list(labelled))[:, 0], list(labelled.values()))
        names = [None if name == NOTHING else name for name in probe.classes]
        weight, bias = probe.weight, probe.bias
    return ConceptGroup(names, weight * concepts.sharpness, bias * concepts.sharpness, concepts.slot)


def _dream(parts: Parts, modality: str, concepts: Concepts, group: ConceptGroup, output: Path) -> list[Sample]:
    seed, generator = parts.recipe.seed, random.Random(parts.recipe.seed)
    pictures = sorted(set(_media(parts.samples, modality)), key=lambda ref: str(ref.path))
    classes = torch.arange(len(group.names)).repeat(concepts.per_class)
    base = parts.caches[modality].stack([generator.choice(pictures) for _ in range(len(classes))])[:, 0]
    head = (group.weight / concepts.sharpness, group.bias / concepts.sharpness)
    features: Tensor = dream(head, base, classes, seed=seed)
    path = output / f"{CONCEPTS}-{modality}.safetensors"
    save_file({"features": features.half()[:, None].contiguous()}, path)
    samples = []
    for row, index in enumerate(classes.tolist()):
        medium = {"type": f"{modality}_url", f"{modality}_url": {"url": f"{path.name}#{row}"}}
        text = {"type": "text", "text": question(generator, "name", "en")}
        parts_of_turn = [medium, text] if generator.random() < 2 / 3 else [text, medium]
        samples.append(
            Sample(
                id=f"{CONCEPTS}/{modality}/{row:06d}",
                messages=[
                    {"role": "user", "content": parts_of_turn},
                    {"role": "assistant", "content": group.names[index]},
                ],
                media=[MediaRef(modality, path, row)],
                meta={"task": f"{CONCEPTS}/{modality}", "language": "en"},
            )
        )
    return samples


def _media(samples: Mapping[str, list[Sample]], modality: str) -> list[MediaRef]:
    found = (ref for group in samples.values() for sample in group for ref in sample.media)
    return list(dict.fromkeys(ref for ref in found if ref.modality == modality and ref.row is None))
