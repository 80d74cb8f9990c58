"""From a recipe and a corpus to a checkpoint that is served as it is.

output/
  checkpoint/              the Quartet checkpoint
  weights.json             what the weights were that the recipe says `sha256: record` of
  run.json                 the recipe and the samples it was started with, for --resume
  concepts-*.safetensors   synthetic features of the encoders' own classes
  stage-<name>/            saved steps, for --resume
  log.jsonl, loss.png      the loss curve
"""

import copy
import importlib.util
import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from model.adapter import add_adapter
from model.checkpoint import Checkpoint, Provenance, build_config
from model.configuration import QuartetConfig
from model.errors import ConfigurationError, DataError
from model.llm import load_llm, load_tokenizer, pad_embeddings
from model.projectors import Projector
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from model.sources import sha256_of
from training.concepts import concept_groups, dreamed_samples
from training.data import Sample
from training.dataset import Collator, Conversations, Row, fill_rows
from training.initialise import ConceptGroup, start_projector
from training.parts import Parts, prepare, train_file
from training.recipe import CONCEPTS, Recipe, Stage
from training.report import draw_loss
from training.trainer import SAVE_STEPS, parameter_groups, saved_steps, train_stage
from training.weights import recorded

RECORD = "run.json"


def run(
    recipe: Recipe,
    corpus: Path,
    output: Path,
    *,
    resume: bool = False,
    command: str = "",
    save_steps: int = SAVE_STEPS,
) -> Checkpoint:
    """Train a recipe on a corpus and write a checkpoint.

    Args:
        recipe: what to build and how to train it.
        corpus: folder that holds `<source>/train.jsonl`.
        output: see the module's docstring; made if missing.
        resume: go on after the last saved step in `output`, or begin where there is none.
        command: recorded in the checkpoint.
        save_steps: steps between two saved ones.

    Raises:
        ConfigurationError, DataError, SourceError, CheckpointError: before training starts, by file and key.
        ConfigurationError: the training diverges.
    """
    recipe = recorded(recipe, output)
    begin(recipe, corpus, output, resume=resume)
    parts = prepare(recipe, corpus)
    dreams = dreamed_samples(parts, output)
    groups = {name: concept_groups(parts, name, dreams) for name in recipe.modalities}
    sizes = {name: [len(group.names) for group in members] for name, members in groups.items()}
    modalities = {name: m.entry(sizes[name]) for name, m in recipe.modalities.items()}
    config = build_config(parts.llm, modalities, recipe.adapter_scope)
    prompt = Prompt(load_tokenizer(parts.llm, config), config)
    model = build_model(parts, config, groups, prompt)
    samples = {**parts.samples, CONCEPTS: dreams}
    counts: dict[str, int] = {}
    prepared: list[tuple[Stage, Conversations]] = []
    # All of them before the first is trained: what cannot work in the last one shows now.
    for stage in recipe.stages:
        parameter_groups(model.named_parameters(), stage.learning_rates)
        chosen = mix(stage, samples, recipe.seed)
        counts |= {f"{stage.name}/{source}": len(members) for source, members in chosen.items()}
        prepared.append((stage, Conversations(conversations(stage, chosen, prompt, recipe.seed))))
    log: list[dict[str, Any]] = []
    pad = int(prompt.tokenizer.pad_token_id or 0)
    for stage, data in prepared:
        collator = Collator(config, parts.caches, [stage.max_length // 2, stage.max_length], pad)
        folder = stage_folder(output, stage)
        entries = train_stage(
            model, stage, data, collator, folder, seed=recipe.seed, save_steps=save_steps, resume=resume
        )
        log += [{"stage": stage.name, **entry} for entry in entries]
    provenance = Provenance(
        llm=recipe.llm,
        encoders={name: modality.part for name, modality in recipe.modalities.items()},
        training={
            "command": command,
            "seed": recipe.seed,
            "samples": counts,
            "media": {name: len(parts.media(name)) for name in recipe.modalities},
            "versions": {name: version(name) for name in ("torch", "transformers")},
        },
    )
    # First what took an hour, then its picture.
    checkpoint = Checkpoint.save(
        output / "checkpoint",
        config,
        model.projectors,
        provenance,
        dtype=torch.float16,
        adapter=None if recipe.adapter is None else (model.language_model, recipe.adapter),
    )
    (output / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    draw_loss(log, output / "loss.png")
    return checkpoint


def begin(recipe: Recipe, corpus: Path, output: Path, *, resume: bool) -> None:
    """Make the output folder and record what is trained in it, so that another run never continues this one.

    Raises:
        ConfigurationError: it holds saved steps and `resume` is not given, or those of another recipe or corpus.
        DataError: the corpus lacks a source.
    """
    check_installed()
    if recipe.compile:
        check_compiler()
    hashes = {}
    for source in recipe.sources:
        path = train_file(corpus, source)
        if not path.is_file():
            raise DataError(f"{path} does not exist; build the corpus with `quartet data build`")
        hashes[source] = sha256_of(path)
    # Through JSON, as it will be read again.
    record = json.loads(json.dumps({"recipe": asdict(recipe), "samples": hashes}))
    path = output / RECORD
    saved = [step for stage in recipe.stages for step in saved_steps(stage_folder(output, stage))]
    if saved and not resume:
        raise ConfigurationError(
            f"{saved[-1]} is of an earlier run: continue it with --resume, or give another --output"
        )
    if saved and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in record if before.get(key) != record[key]]
        if changed:
            raise ConfigurationError(
                f"{path}: the run was started with another {changed[0]}; restore it, or give another --output"
            )
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def stage_folder(output: Path, stage: Stage) -> Path:
    """Where a stage saves its steps."""
    return output / f"stage-{stage.name}"


def build_model(
    parts: Parts, config: QuartetConfig, groups: Mapping[str, Sequence[ConceptGroup]], prompt: Prompt
) -> QuartetForConditionalGeneration:
    """The model to train: language model with a new adapter, projectors started as the recipe asks for, no encoders."""
    recipe = parts.recipe
    # Only here: how much randomness was used before depends on what was found in the cache.
    torch.manual_seed(recipe.seed)
    llm = load_llm(parts.llm, getattr(torch, recipe.dtype))
    pad_embeddings(llm, config.get_text_config().vocab_size)
    llm.requires_grad_(False)
    if recipe.adapter is not None:
        try:
            add_adapter(llm, recipe.adapter)
        except ConfigurationError as error:
            raise ConfigurationError(f"adapter.{error}") from None
    # The trainer writes its own settings into the model's configuration; the checkpoint keeps the clean one.
    model = QuartetForConditionalGeneration(copy.deepcopy(config), llm)
    for name, modality in recipe.modalities.items():
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
                embeddings=llm.get_input_embeddings().weight.detach(),
            )
        except (ConfigurationError, DataError) as error:
            raise type(error)(f"modalities.{name}.{error}") from None
        # Features come from the cache; the encoder would only take memory.
        model.encoders[name] = nn.Identity()
    if recipe.compile:
        compile_decoder(llm)
    return model


def pooled_features(parts: Parts, modality: str, samples: Sequence[Sample]) -> Tensor:
    """Features `[n, dim]` of the one medium of each sample; none where the encoder does not pool."""
    cache = parts.caches[modality]
    if cache.config.length != 1 or not samples:
        return torch.empty(0, cache.config.dim)
    return cache.stack([sample.media[0] for sample in samples])[:, 0]


def mix(stage: Stage, samples: Mapping[str, list[Sample]], seed: int) -> dict[str, list[Sample]]:
    """The samples of a stage by source, each as often as its mixture says; a fraction takes a random part.

    Raises:
        DataError: a mixture that takes no sample at all.
    """
    chosen: dict[str, list[Sample]] = {}
    for mixture in stage.data:
        members = samples[mixture.source]
        whole, rest = divmod(mixture.passes, 1.0)
        part = random.Random(seed).sample(members, round(rest * len(members)))
        taken = members * int(whole) + part
        if not taken:
            raise DataError(f"stage {stage.name}: passes {mixture.passes} takes none of {mixture.source}'s samples")
        chosen[mixture.source] = taken
    return chosen


def conversations(stage: Stage, chosen: Mapping[str, list[Sample]], prompt: Prompt, seed: int) -> list[Row]:
    """The tokenised conversations of a stage, no source mixed with another in one row."""
    turns = {mixture.source: mixture.turns for mixture in stage.data}
    return [
        row
        for source, members in chosen.items()
        for row in fill_rows(members, prompt, turns=turns[source], max_length=stage.max_length, seed=seed)
    ]


def compile_decoder(llm: PreTrainedModel) -> None:
    """Compile the language model's layers in place, one kernel set per batch shape.

    On a CPU the plain attention is fused by the compiler, while the backward pass of the fused kernel that eager mode
    uses takes a quarter of a step.
    """
    if not torch.cuda.is_available():
        llm.set_attn_implementation("eager")
    decoder: Any = llm.get_decoder()
    decoder.forward = torch.compile(decoder.forward, dynamic=False)


def check_installed() -> None:
    """Refuse to begin without the libraries that are only needed later.

    Raises:
        ConfigurationError: one of them is missing.
    """
    missing = [name for name in ("sklearn", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f'training needs {missing[0]}, which is not installed: pip install "quartet[train]"')


def check_compiler() -> None:
    """Refuse `compile: true` where it would fail after minutes of preparation.

    Raises:
        ConfigurationError: no C++ compiler.
    """
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise ConfigurationError(
            f"compile: true needs a C++ compiler ({' or '.join(names)}); install one or set compile: false"
        )
