"""What a run is built from before anything is trained: frozen parts, samples, and the features of all their media."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model.checkpoint import compare
from model.encoders import encoder_config, load_state
from model.llm import llm_directory
from model.sources import Source, cache_directory, fetch
from training.cache import FeatureCache
from training.data import MediaRef, Sample, read_samples
from training.recipe import Recipe


@dataclass(frozen=True)
class Parts:
    """The frozen parts of a recipe, fetched and checked, and its training samples, their media encoded."""

    recipe: Recipe
    llm: Path
    """Hugging Face directory of the language model."""
    weights: dict[str, Path]
    """Per modality, the encoder's weights."""
    caches: dict[str, FeatureCache]
    """Per modality, the features of every medium in `samples`."""
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


def prepare(recipe: Recipe, corpus: Path) -> Parts:
    """Read the corpus, fetch the frozen parts and make sure that every medium is in the feature cache.

    Args:
        recipe: names the parts and the sources.
        corpus: holds `<source>/train.jsonl`.

    Raises:
        DataError: an unusable sample or medium, by file and line.
        SourceError, CheckpointError: weights that cannot be fetched or are not the encoder's.
    """
    samples = {name: read_samples(train_file(corpus, name)) for name in recipe.sources}
    llm = llm_directory(fetch(Source.parse(recipe.llm.source), sha256=recipe.llm.sha256), recipe.llm.sha256)
    weights = {n: fetch(Source.parse(m.source), sha256=m.sha256) for n, m in recipe.modalities.items()}
    caches = {n: open_cache(m.encoder, m.sha256) for n, m in recipe.modalities.items()}
    for name, cache in caches.items():
        state = cache.config.convert(load_state(weights[name]))
        encode_media(cache, media_files(samples.values(), name), state)
    return Parts(recipe, llm, weights, caches, samples)


def train_file(corpus: Path, source: str) -> Path:
    """The training samples of one source of a corpus."""
    return corpus / source / "train.jsonl"


def open_cache(encoder: Mapping[str, Any], sha256: str) -> FeatureCache:
    """The feature cache of an encoder, in the user's cache directory."""
    return FeatureCache(cache_directory() / "features", encoder_config(encoder), sha256)


def encode_media(cache: FeatureCache, references: Sequence[MediaRef], state: Mapping[str, Tensor]) -> None:
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


def media_files(groups: Iterable[Sequence[Sample]], modality: str) -> list[MediaRef]:
    """Every file of a modality in groups of samples, once, in order of appearance; rows of feature files are none."""
    found = (reference for group in groups for sample in group for reference in sample.media)
    return list(dict.fromkeys(ref for ref in found if ref.modality == modality and ref.row is None))
