"""From a recipe and a corpus to a checkpoint that is served as it is.

output/
  checkpoint/              the Quartet checkpoint
  report.md, curves.png    what was trained on what, how long, and how it went
  log.jsonl                loss, learning rate, speed and validation by step
  tensorboard/             the same for TensorBoard
  problems.jsonl           samples that were left out, and why
  weights.json             what the weights were that the recipe says `sha256: record` of
  run.json                 the recipe and the samples it was started with, for --resume
  concepts-*.safetensors   synthetic features of the encoders' own classes
  stage-<name>/            saved steps, for --resume
"""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from model.carried import save_encoder, save_llm
from model.checkpoint import Checkpoint, Part, Provenance, build_config
from model.configuration import QuartetConfig
from model.encoders import load_state
from model.errors import DataError
from model.llm import load_llm_config, load_tokenizer
from model.prompt import Prompt
from model.reference import QuartetForConditionalGeneration
from model.shared_prefix import can_share
from training.batches import padded_lengths
from training.build import build_model
from training.cache import FeatureCache
from training.concepts import concept_groups, dreamed_samples, gates, task_labels
from training.data import Sample, read_sources
from training.dataset import Collator, Conversations, Row, fill_rows
from training.groups import trained_concepts
from training.initialisation import CONCEPTS
from training.initialise import ConceptGroup
from training.mixture import hold_out, mix, of_tasks
from training.noise import ConceptNoise
from training.parallel import DEEPSPEED, parallel_arguments
from training.parts import Live, Parts, encode_media, media_files, prepare
from training.problems import ProblemLog
from training.recipe import Recipe
from training.record import VALID, begin
from training.refit import Finals, final_groups, refit_record, rescored
from training.report import Facts, Machine, StageFacts, write_report
from training.saved import stage_folder
from training.selection import parameter_groups
from training.signals import Stop, stop_on_signals
from training.stage import Stage
from training.start import adopt_hidden_units, check_modalities, open_start
from training.trainer import LOGGING_STEPS, Surroundings, train_stage
from training.validation import Validator
from training.weights import recorded

# Fewer tokens in common than this are not worth an attention of their own.
WORTH_SHARING = 8
CHECKPOINT, LOG, PROBLEMS, BOARD = "checkpoint", "log.jsonl", "problems.jsonl", "tensorboard"


@dataclass(frozen=True)
class Built:
    """What the stages of a run share."""

    parts: Parts
    samples: dict[str, list[Sample]]
    """By source, those to train on; synthetic ones of concepts too."""
    config: QuartetConfig
    """As it is saved; the model's own holds settings of the trainer."""
    prompt: Prompt
    model: QuartetForConditionalGeneration
    noise: Mapping[str, ConceptNoise]
    """By modality, what disturbs its concepts while they are trained; only where a stage asks for it."""
    groups: Mapping[str, list[ConceptGroup]]
    """By modality, its named concepts."""
    finals: Finals
    """The scores that concepts get after the last stage."""
    start: Checkpoint | None = None
    """What the run goes on from."""


@dataclass(frozen=True)
class Prepared:
    """A stage and everything it needs, checked and tokenised."""

    stage: Stage
    data: Conversations
    collator: Collator
    validator: Validator | None
    samples: dict[str, int]
    """By source, those of one epoch."""


def run(
    recipe: Recipe,
    corpus: Path,
    output: Path,
    *,
    resume: bool = False,
    command: str = "",
    logging_steps: int = LOGGING_STEPS,
) -> Checkpoint:
    """Train a recipe on a corpus and write a checkpoint.

    Args:
        recipe: what to build and how to train it.
        corpus: folder that holds `<source>/train.jsonl`.
        output: see the module's docstring; made if missing.
        resume: go on after the last saved step in `output`, or begin where there is none.
        command: recorded in the checkpoint.
        logging_steps: steps between two entries of the log.

    Raises:
        ConfigurationError, DataError, SourceError, CheckpointError: before training starts, by file and key.
        ConfigurationError: the training diverges.
        Interrupted: SIGINT or SIGTERM came; the run can be resumed.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        recipe = recorded(recipe, output)
        # What cannot be gone on from shows before anything is written.
        open_start(recipe)
        begin(recipe, corpus, output, resume=resume)
        problems = stack.enter_context(ProblemLog(file=output / PROBLEMS))
        machine = stack.enter_context(Machine())
        built = build(recipe, corpus, output, problems)
        stages = prepare_stages(built, corpus, problems)
        media = {name: len(built.parts.media(name)) for name in recipe.modalities}
        # What is trained on is tokenised by now; a large corpus is larger than a small language model.
        built = replace(built, samples={}, parts=replace(built.parts, samples={}))
        log: list[dict[str, Any]] = []
        facts: list[StageFacts] = []
        for prepared in stages:
            for name, noise in built.noise.items():
                noise.set_shares(recipe.noise(prepared.stage, name))
            entries = train_stage(
                built.model,
                prepared.stage,
                prepared.data,
                prepared.collator,
                stage_folder(output, prepared.stage.name),
                validator=prepared.validator,
                noise=built.noise,
                concepts={
                    name: trained_concepts(built.groups[name], numbers)
                    for name, numbers in recipe.groups(prepared.stage).items()
                },
                around=surroundings(recipe, output, stop, prepared.stage, logging_steps),
                resume=resume,
            )
            log += [{"stage": prepared.stage.name, **entry} for entry in entries]
            facts.append(StageFacts.of(prepared.stage, entries, prepared.samples, built.model))
        # Every process of a run over several devices ends with the same weights; one of them writes.
        everyone = PartialState(cpu=not torch.cuda.is_available())
        if everyone.is_main_process:
            # First what took an hour, then its picture.
            save(output / CHECKPOINT, built, training_record(built, command, stages, media))
            (output / LOG).write_text("".join(json.dumps(entry) + "\n" for entry in log), encoding="utf-8")
            report = Facts(command, facts, media, list(problems.lines()), machine.now())
            write_report(output, recipe, report, log)
        everyone.wait_for_everyone()
        return Checkpoint.open(output / CHECKPOINT)


def build(recipe: Recipe, corpus: Path, output: Path, problems: ProblemLog) -> Built:
    """Read, fetch, encode and build everything that the stages of a recipe share.

    Args:
        recipe: what to build.
        corpus: holds `<source>/train.jsonl`.
        output: receives synthetic features; must exist.
        problems: counts samples that are left out.

    Raises:
        ConfigurationError, DataError, SourceError, CheckpointError: by file and key.
    """
    start = open_start(recipe)
    live = {name: Live(reason="its encoder is trained", trained=True) for name in recipe.trained_encoders}
    parts = prepare(recipe, corpus, on_problem=recipe.policies, problems=problems, live=live)
    dreams = dreamed_samples(parts, output)
    # Features of an encoder that is trained ask for gradients; a start needs none.
    with torch.no_grad():
        groups = {name: concept_groups(parts, name, dreams) for name in recipe.modalities}
        finals = final_groups(parts, dreams, start.provenance.training if start else None)
    sizes = {name: [len(group.names) for group in members] for name, members in groups.items()}
    modalities = {
        name: m.entry(sizes[name], gates(m.initialisation, groups[name])) for name, m in recipe.modalities.items()
    }
    if start is not None:
        adopt_hidden_units(start, modalities)
    config = build_config(parts.llm, modalities, recipe.adapter_scope)
    if start is not None:
        check_modalities(start, config)
    prompt = Prompt(load_tokenizer(parts.llm, config), config)
    model = build_model(parts, config, groups, prompt, start)
    noise = {
        name: ConceptNoise(model.projectors[name], groups[name], m.initialisation, task_labels(parts, name))
        for name, m in recipe.modalities.items()
        if any(concepts.mixed for concepts in m.initialisation.concepts)
        or any(any(recipe.noise(stage, name)) for stage in recipe.stages)
    }
    return Built(parts, {**parts.samples, CONCEPTS: dreams}, config, prompt, model, noise, groups, finals, start)


def prepare_stages(built: Built, corpus: Path, problems: ProblemLog) -> list[Prepared]:
    """Check and tokenise every stage before the first is trained: what cannot work in the last one shows now.

    Raises:
        ConfigurationError: learning rates that match nothing.
        DataError: see `prepare_stage`.
    """
    stages = built.parts.recipe.stages
    valid = validation_samples(built.parts, corpus, problems)
    for stage in stages:
        parameter_groups(built.model.named_parameters(), stage.learning_rates)
    prepared: list[Prepared] = []
    for stage in stages:
        same = next((earlier for earlier in prepared if same_rows(earlier.stage, stage)), None)
        prepared.append(prepare_stage(stage, built, valid, problems, same))
    return prepared


def same_rows(one: Stage, other: Stage) -> bool:
    """Whether two stages are trained on the same rows."""
    names = ("data", "samples", "max_length", "validation")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def surroundings(recipe: Recipe, output: Path, stop: Stop, stage: Stage, logging_steps: int) -> Surroundings:
    """What of a run matters to one of its stages."""
    sharded = recipe.parallel is not None and recipe.parallel.type == DEEPSPEED
    return Surroundings(
        seed=recipe.seed,
        autocast=recipe.dtype if recipe.trains_llm or sharded else "float32",
        parallel=parallel_arguments(recipe.parallel, recipe.dtype),
        stop=stop,
        board=output / BOARD / stage.name,
        logging_steps=logging_steps,
    )


def prepare_stage(
    stage: Stage,
    built: Built,
    valid: Mapping[str, list[Sample]],
    problems: ProblemLog,
    same: Prepared | None = None,
) -> Prepared:
    """Choose and tokenise the samples of a stage, or take those of another with the same rows.

    Raises:
        DataError: a source that gives the stage nothing, or a sample that is too long and may not be skipped.
    """
    seed, settings = built.parts.recipe.seed, stage.validation
    samples = of_tasks(stage, built.samples)
    held: list[Sample] = []
    if settings is not None:
        held = [sample for source in settings.sources for sample in valid[source]]
        if settings.share:
            split = {source: hold_out(members, settings.share, seed) for source, members in samples.items()}
            samples = {source: train for source, (train, _) in split.items()}
            held += [sample for _, apart in split.values() for sample in apart]
    chosen = mix(stage, samples, seed)
    data = tokenised(stage, chosen, built, problems) if same is None else same.data
    pad = int(built.prompt.tokenizer.pad_token_id or 0)
    lengths = padded_lengths(data.lengths, stage.max_length) if len(data) else [stage.max_length]
    modalities = built.parts.recipe.modalities
    disturbed = built.noise if stage.noise is not False else ()
    asked = {name: modalities[name].initialisation.asked(name) for name in disturbed}
    prefix = shared_prefix(stage, data, built)
    collator = Collator(built.config, built.parts.caches, lengths, pad, prefix=prefix, asked=asked)
    counts = {source: len(members) for source, members in chosen.items()}
    validator = make_validator(stage, held, built) if settings is not None else None
    return Prepared(stage, data, collator, validator, counts)


def tokenised(stage: Stage, chosen: Mapping[str, list[Sample]], built: Built, problems: ProblemLog) -> Conversations:
    """The rows of a stage, of the samples that were chosen from each source.

    Raises:
        DataError: a sample that is too long and may not be skipped.
    """
    return Conversations(
        row
        for mixture in stage.data
        for row in fill_rows(
            chosen[mixture.source],
            built.prompt,
            turns=mixture.turns,
            max_length=stage.max_length,
            seed=built.parts.recipe.seed,
            on_problem=mixture.on_problem,
            problems=problems,
        )
    )


def shared_prefix(stage: Stage, data: Conversations, built: Built) -> int:
    """Tokens that the rows of a batch share and the language model computes once; 0 where that saves nothing."""
    prefix = data.prefix(built.config.media_token_ids.values())
    if prefix < WORTH_SHARING or stage.rows(min(data.lengths)) == 1:
        return 0
    return prefix if can_share(built.model.language_model, prefix, stage.max_length) else 0


def make_validator(stage: Stage, held: list[Sample], built: Built) -> Validator:
    """The validation of a stage on a random part of the samples that were held out.

    Raises:
        DataError: there are none.
    """
    assert stage.validation is not None
    rows: list[Row] = list(fill_rows(held, built.prompt, turns=1, max_length=1 << 20, seed=built.parts.recipe.seed))
    if not rows:
        raise DataError(f"stage {stage.name}: validation.share {stage.validation.share} holds out no sample; raise it")
    controls = frozenset(built.prompt.tokenizer.all_special_ids)
    return Validator(stage.validation, rows[: stage.validation.samples], built.parts.caches, controls)


def validation_samples(parts: Parts, corpus: Path, problems: ProblemLog) -> dict[str, list[Sample]]:
    """The samples of `valid.jsonl` of every source that a stage is validated on, their media encoded.

    Raises:
        DataError: an unusable one; what a model is judged by is not skipped.
    """
    files = {source: corpus / source / VALID for source in parts.recipe.validation_sources}
    samples = read_sources(files, problems=problems)
    for name, cache in parts.caches.items():
        references = media_files(samples.values(), name)
        if isinstance(cache, FeatureCache) and references:
            encode_media(cache, references, cache.config.convert(load_state(parts.weights[name])))
    return samples


def training_record(
    built: Built, command: str, stages: list[Prepared], media: Mapping[str, int]
) -> dict[str, Any]:  # fmt: skip
    """What a checkpoint remembers of the run that made it, and of those before it that it went on from."""
    return {
        "command": command,
        **({} if built.start is None else {"start": built.start.provenance.training}),
        "seed": built.parts.recipe.seed,
        "samples": {f"{s.stage.name}/{source}": n for s in stages for source, n in s.samples.items()},
        "media": dict(media),
        **({"refit": refit_record(built.parts.recipe, media)} if built.finals else {}),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


def save(directory: Path, built: Built, training: dict[str, Any]) -> Checkpoint:
    """Write the checkpoint: projectors and adapter, and the weights of other parts where they were trained."""
    parts, model = built.parts, built.model
    recipe = parts.recipe
    llm = recipe.llm
    encoders = {name: modality.part for name, modality in recipe.modalities.items()}
    base: dict[str, Any] = {}
    config, projectors = rescored(built.config, model.projectors, built.finals)
    directory.mkdir(parents=True, exist_ok=True)
    if recipe.trains_llm:
        base["llm"] = asdict(llm)
        dtype = load_llm_config(parts.llm).dtype or getattr(torch, recipe.dtype)
        source, sha256 = save_llm(model.language_model, parts.llm, directory, dtype)
        llm = Part(source=source, sha256=sha256)
    for name in recipe.trained_encoders:
        base.setdefault("encoders", {})[name] = asdict(encoders[name])
        source, sha256 = save_encoder(model.encoders[name], name, directory)
        encoders[name] = Part(source=source, sha256=sha256)
    if base:
        training = {**training, "base": base}
    return Checkpoint.save(
        directory,
        config,
        projectors,
        Provenance(llm=llm, encoders=encoders, training=training),
        dtype=torch.float16,
        adapter=None if recipe.adapter is None else (model.language_model, recipe.adapter),
    )
