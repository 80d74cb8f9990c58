"""The frozen features that an evaluation needs, encoded once and read as they are asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from training.cache import FeatureCache
from training.data import MediaRef, Sample
from training.parts import encode_media, media_files, open_cache

# Media whose features are in memory at once while they are averaged; features of patches are large.
POOLED = 256


class Caches:
    """The feature caches of a checkpoint's encoders, by modality."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.by_modality: dict[str, FeatureCache] = {
            name: open_cache(values["encoder"], checkpoint.provenance.encoders[name].sha256)
            for name, values in (checkpoint.config.modalities or {}).items()
        }

    def ensure(self, samples: Sequence[Sample]) -> None:
        """Encode the media of samples that are not cached yet.

        Raises:
            DataError: a medium that cannot be decoded, by path.
        """
        for name in self.by_modality:
            self._encode(name, media_files([samples], name))

    def pool(self, modality: str, references: Sequence[MediaRef]) -> Tensor:
        """Mean features `[n, dim]`, float32, of media of one modality; those not cached yet are encoded."""
        self._encode(modality, [reference for reference in references if reference.row is None])
        cache = self.by_modality[modality]
        parts = (references[start : start + POOLED] for start in range(0, len(references), POOLED))
        return torch.cat([cache.stack(part).mean(dim=1) for part in parts])

    def _encode(self, modality: str, references: Sequence[MediaRef]) -> None:
        cache = self.by_modality[modality]
        if cache.missing(references):
            encode_media(cache, references, self._checkpoint.encoder_state(modality))
