"""What a run is built from before anything is trained: frozen parts, samples, and the features of all their media."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.encoders import EncoderConfig, encoder_config, load_state
from model.encoders.base import MAX_BATCH
from model.errors import DataError
from model.llm import llm_directory
from model.sources import Source, cache_directory, fetch
from model.tensor_file import compare
from training.cache import Augmentation, FeatureCache, Features, OnTheFly
from training.cache.fill import WORKERS
from training.check import sample_files
from training.data import MediaRef, Sample, read_samples, read_sources
from training.problems import Kind, OnProblem, ProblemLog, SampleError
from training.recipe import ModalityRecipe, Recipe

log = logging.getLogger(__name__)

# Media in one forward pass on an accelerator, which a smaller batch leaves idle.
DEVICE_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Live:
    """Why a modality cannot be served from the feature cache, and how it is encoded instead."""

    reason: str
    """Such as `its pixels are augmented`; it is logged."""
    augment: Augmentation | None = None
    """Changes each decoded medium."""
    trained: bool = False
    """The encoder is trained with the rest."""


@dataclass(frozen=True)
class Parts:
    """The frozen parts of a recipe, fetched and checked, and its training samples, their media encoded."""

    recipe: Recipe
    llm: Path
    """Hugging Face directory of the language model."""
    weights: dict[str, Path]
    """Per modality, the encoder's weights."""
    caches: dict[str, Features]
    """Per modality, the features of every medium in `samples`: a `FeatureCache`, or `OnTheFly` where it is live."""
    samples: dict[str, list[Sample]]
    """Per corpus source, the training samples."""

    def single(self, modality: str) -> list[Sample]:
        """Samples with exactly one medium, of this modality: what it shows is what the answer tells."""
        return [
            sample
            for samples in self.samples.values()
            for sample in samples
            if [reference.modality for reference in sample.media] == [modality]
        ]

    def media(self, modality: str) -> list[MediaRef]:
        """Every file of this modality in the samples, once, in order of appearance."""
        return media_files(self.samples.values(), modality)


def prepare(
    recipe: Recipe,
    corpus: Path,
    *,
    on_problem: Mapping[str, OnProblem] | None = None,
    problems: ProblemLog | None = None,
    live: Mapping[str, Live] | None = None,
) -> Parts:
    """Read the corpus, fetch the frozen parts and make sure that every medium is in the feature cache.

    Args:
        recipe: names the parts and the sources.
        corpus: holds `<source>/train.jsonl`.
        on_problem: per source, what to do about unusable samples and media; `error` where none is given.
        problems: counts what `skip` leaves out.
        live: modalities that are encoded whenever they are seen.

    Raises:
        DataError: an unusable sample or medium, by file and line.
        SourceError, CheckpointError: weights that cannot be fetched or are not the encoder's.
    """
    policies, problems, live = on_problem or {}, problems or ProblemLog(), live or {}
    files = {name: train_file(corpus, name) for name in recipe.sources}
    samples = read_sources(files, on_problem=policies, problems=problems)
    llm = llm_directory(fetch(Source.parse(recipe.llm.source), sha256=recipe.llm.sha256), recipe.llm.sha256)
    weights = {n: fetch(Source.parse(m.source), sha256=m.sha256) for n, m in recipe.modalities.items()}
    features: dict[str, Features] = {}
    unusable: dict[Path, str] = {}
    for name, modality in recipe.modalities.items():
        if name in live:
            features[name] = encode_live(name, modality, weights[name], live[name])
            continue
        features[name] = cache = open_cache(modality.encoder, modality.sha256)
        state = cache.config.convert(load_state(weights[name]))
        encode_media(cache, media_files(samples.values(), name), state, on_problem="skip")
        unusable |= cache.unusable
    usable = {
        source: drop_unusable(members, unusable, policies.get(source, "error"), problems)
        for source, members in samples.items()
    }
    for source, members in usable.items():
        if not members:
            raise DataError(f"{files[source]}: none of its {len(samples[source])} samples has only usable media")
    return Parts(recipe, llm, weights, features, usable)


def drop_unusable(
    samples: Sequence[Sample], unusable: Mapping[Path, str], on_problem: OnProblem, problems: ProblemLog
) -> list[Sample]:
    """The samples whose media could all be encoded.

    Args:
        samples: of one source.
        unusable: media that could not be encoded, and why.
        on_problem: `error`, or `skip` to leave samples out and count them.
        problems: receives what is left out.

    Raises:
        SampleError: the first sample that uses such a medium, and how many there are; the policy is `error`.
    """
    usable: list[Sample] = []
    errors: list[SampleError] = []
    for sample in samples:
        bad = next((reference.path for reference in sample.media if reference.path in unusable), None)
        if bad is None:
            usable.append(sample)
        else:
            errors.append(SampleError(Kind.UNREADABLE, f"sample {sample.id}: {bad}: {unusable[bad]}", sample.where))
    if errors and on_problem == "error":
        rest = f" (and {len(errors) - 1} more samples like it)" if len(errors) > 1 else ""
        advice = "replace the medium, or let the source skip what is unusable"
        raise SampleError(errors[0].kind, f"{errors[0].message}{rest}; {advice}", errors[0].where)
    for error in errors:
        problems.settle(error, on_problem)
    return usable


@dataclass(frozen=True)
class Filled:
    """What filling the cache of one modality came to."""

    modality: str
    media: int
    """Files that samples name."""
    encoded: int
    """Of them, by this call."""
    unusable: dict[Path, str]
    """Media that cannot be encoded, and why."""


def fill_caches(
    recipe: Recipe, paths: Sequence[Path], *, workers: int = WORKERS, on_problem: OnProblem = "error"
) -> Iterator[Filled]:
    """Encode the media of samples ahead of training, one modality after the other.

    Args:
        recipe: names the encoders.
        paths: files of samples, folders of them, or a whole corpus.
        workers: threads that read and decode.
        on_problem: whether unusable media end this, after the others are encoded.

    Raises:
        DataError: an unusable sample, or medium, by file.
        SourceError, CheckpointError: weights that cannot be fetched or are not the encoder's.
    """
    samples = [read_samples(path) for path in sample_files(paths)]
    for name, modality in recipe.modalities.items():
        weights = fetch(Source.parse(modality.source), sha256=modality.sha256)
        cache, references = open_cache(modality.encoder, modality.sha256), media_files(samples, name)
        state = cache.config.convert(load_state(weights))
        encoded = encode_media(cache, references, state, on_problem=on_problem, workers=workers)
        yield Filled(name, len(references), encoded, cache.unusable)


def train_file(corpus: Path, source: str) -> Path:
    """The training samples of one source of a corpus."""
    return corpus / source / "train.jsonl"


def feature_folder() -> Path:
    """Where the feature caches of all encoders are, in the user's cache directory."""
    return cache_directory() / "features"


def open_cache(encoder: Mapping[str, Any], sha256: str, *, repair: bool = False) -> FeatureCache:
    """The feature cache of an encoder, in the user's cache directory; see `FeatureCache` for `repair`."""
    return FeatureCache(feature_folder(), encoder_config(encoder), sha256, repair=repair)


def encode_media(
    cache: FeatureCache,
    references: Sequence[MediaRef],
    state: Mapping[str, Tensor],
    *,
    on_problem: OnProblem = "error",
    workers: int = WORKERS,
) -> int:
    """Encode what is not cached yet; `state` holds the encoder's weights under the module's names.

    Returns:
        How many media were encoded.

    Raises:
        CheckpointError: the weights are not those of the configured encoder.
        DataError: see `FeatureCache.ensure`.
    """
    batch = DEVICE_BATCH if torch.cuda.is_available() else MAX_BATCH
    return cache.ensure(
        references, lambda: build_encoder(cache.config, state), workers, on_problem=on_problem, batch=batch
    )


def encode_live(name: str, modality: ModalityRecipe, weights: Path, live: Live) -> OnTheFly:
    """Features of a modality that no cache can hold; says so.

    Raises:
        CheckpointError: the weights are not those of the configured encoder.
    """
    log.warning("%s: %s; the feature cache is off, each medium is encoded whenever it is seen", name, live.reason)
    config = encoder_config(modality.encoder)
    module = build_encoder(config, config.convert(load_state(weights)))
    return OnTheFly(config, module, augment=live.augment, trained=live.trained)


def build_encoder(config: EncoderConfig, state: Mapping[str, Tensor]) -> nn.Module:
    """An encoder with its weights, in evaluation mode, on the accelerator if there is one.

    Raises:
        CheckpointError: the weights are not those of the configured encoder.
    """
    module = config.build().eval()
    compare(state, module.state_dict(), f"weights of the {config.family} encoder")
    # Not strict only because of batch-norm counters, which some files lack.
    module.load_state_dict(state, strict=False)
    return module.to("cuda" if torch.cuda.is_available() else "cpu")


def media_files(groups: Iterable[Sequence[Sample]], modality: str) -> list[MediaRef]:
    """Every file of a modality in groups of samples, once, in order of appearance; rows of feature files are none."""
    found = (reference for group in groups for sample in group for reference in sample.media)
    return list(dict.fromkeys(ref for ref in found if ref.modality == modality and ref.row is None))
