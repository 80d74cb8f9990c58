"""Where a run's features come from: a cache of them, or the encoder itself, each time.

A cache costs the encoder once. It cannot serve a run whose encoder changes while it is trained, or whose media are
changed before they are encoded: those take `OnTheFly`, which has the same interface.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model.encoders import encode
from model.encoders.base import EncoderConfig
from model.errors import DataError, QuartetError
from model.media import decode_audio, decode_image
from training.data import FEATURES, MediaRef

DECODERS: dict[str, Callable[[bytes], Any]] = {"image": decode_image, "audio": decode_audio}
# A decoded medium (`PIL.Image`, `model.media.Sound`) and random numbers -> the changed medium.
Augmentation = Callable[[Any, random.Random], Any]


class Features(ABC):
    """Features of media of one modality under one encoder.

    Args:
        config: the encoder.
    """

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config
        self._files: dict[Path, Tensor] = {}

    @abstractmethod
    def find(self, reference: MediaRef) -> Tensor:
        """Features `[length, dim]` of one medium in whatever precision they are kept; not to be written to.

        Raises:
            DataError: there are none, by path.
        """

    def get(self, reference: MediaRef) -> Tensor:
        """Features `[length, dim]`, float32, of one medium.

        Raises:
            DataError: there are none, by path.
        """
        return self.find(reference).float()

    def stack(self, references: Sequence[MediaRef]) -> Tensor:
        """Features `[n, length, dim]`, float32, of at least one medium.

        Raises:
            DataError: as `get`, or media of different lengths, which no batch holds.
        """
        # Converted at the end: moving half precision around costs half as much.
        return _stacked(references, [self.find(reference) for reference in references]).float()

    def _row(self, reference: MediaRef) -> Tensor:
        """A row of a file of features, which stays open: a read costs microseconds."""
        path, row = reference.path, reference.row
        assert row is not None
        try:
            if path not in self._files:
                with safe_open(path, framework="pt") as file:
                    features = file.get_tensor(FEATURES)
                length, dim = self.config.length, self.config.dim
                if features.dim() != 3 or features.shape[2] != dim or length not in (None, features.shape[1]):
                    raise DataError(
                        f"{path}: features have shape {list(features.shape)}, the {self.config.family} encoder gives "
                        f"[rows, {length or 'length'}, {dim}]; they were computed with another encoder"
                    )
                self._files[path] = features
            return self._files[path][row]
        except (SafetensorError, OSError, IndexError) as error:
            raise DataError(f"{path}#{row}: no such row of features ({error})") from None


class OnTheFly(Features):
    """Features computed whenever they are asked for, in the process that holds the encoder.

    Args:
        config: the encoder.
        module: built from it, with its weights; its device is where it encodes and where the features are.
        augment: changes each decoded medium before it is encoded; its random numbers come from torch's generator, so a
            run that restores that one sees the same media again.
        trained: the encoder is trained: gradients flow from the features into it, and its mode is left as it is.
            Without, it is in evaluation mode.
        workers: threads that decode and preprocess.
    """

    def __init__(
        self,
        config: EncoderConfig,
        module: nn.Module,
        *,
        augment: Augmentation | None = None,
        trained: bool = False,
        workers: int = 2,
    ) -> None:
        super().__init__(config)
        self.module = module if trained else module.eval()
        self.augment, self.trained = augment, trained
        self._pool = ThreadPoolExecutor(workers)

    def find(self, reference: MediaRef) -> Tensor:
        """See `Features.find`."""
        return self.stack([reference])[0]

    def stack(self, references: Sequence[MediaRef]) -> Tensor:
        """See `Features.stack`; one batch goes through the encoder."""
        inputs = iter(self.inputs([reference for reference in references if reference.row is None]))
        with nullcontext() if self.trained else torch.no_grad():
            encoded = iter(encode(self.module, list(inputs)))
        device = next(self.module.parameters()).device
        features = [
            (next(encoded) if reference.row is None else self._row(reference)).to(device=device, dtype=torch.float32)
            for reference in references
        ]
        return _stacked(references, features)

    def inputs(self, references: Sequence[MediaRef]) -> list[Tensor]:
        """The preprocessed media, for a model that runs the encoder within its own forward pass.

        Raises:
            DataError: a medium that cannot be decoded, by path.
        """
        # One seed per medium, drawn in order: what a medium becomes does not depend on which thread was faster.
        seeds = torch.randint(1 << 62, (len(references),)).tolist() if self.augment else [0] * len(references)
        return list(self._pool.map(self._prepare, references, seeds))

    def _prepare(self, reference: MediaRef, seed: int) -> Tensor:
        return prepare_medium(self.config, reference.path, self.augment, random.Random(seed))

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("features are encoded in the process that holds the encoder; use no DataLoader workers")


def prepare_medium(
    config: EncoderConfig, path: Path, augment: Augmentation | None = None, generator: random.Random | None = None
) -> Tensor:
    """Read, decode, change if asked to, and preprocess one file.

    Raises:
        DataError: it cannot be read or decoded, by path.
    """
    try:
        medium = DECODERS[config.modality](path.read_bytes())
        if augment is not None:
            medium = augment(medium, generator or random.Random())
        return config.preprocess(medium)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except QuartetError as error:
        raise DataError(f"{path}: {error}") from None


def _stacked(references: Sequence[MediaRef], features: Sequence[Tensor]) -> Tensor:
    for reference, tensor in zip(references, features, strict=True):
        if len(tensor) != len(features[0]):
            raise DataError(
                f"{reference.path}: {len(tensor)} feature vectors, {references[0].path} has {len(features[0])}; media "
                "of different lengths fit in no batch"
            )
    return torch.stack(list(features))
