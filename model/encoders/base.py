"""The interface every frozen encoder implements, and how a batch of media becomes features.

An encoder *configuration* is light: it preprocesses one medium on the CPU, without weights, in the API process or a
data worker. The *module* it builds holds the weights. Neither knows of language models or tokens.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model.errors import CheckpointError
from model.sight import Sight

# The engine's own limit counts soft tokens, not media: at 4 tokens a medium it would put thousands into one batch.
MAX_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(ABC):
    """What identifies an encoder and how it prepares a medium; subclasses are one per family."""

    family: ClassVar[str]
    modality: ClassVar[str]
    licence: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised by a family whenever decoding, preprocessing or the module give other values for the same medium: features
    that were cached before are then not used any more. A test compares the values with recorded ones."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Size of one feature vector."""

    @property
    def sight(self) -> Sight | None:
        """How large `preprocess` sees a picture, where giving it `sight.of(picture)` changes nothing; else None."""
        return None

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Feature vectors per medium: 1 when pooled, None when it depends on the medium."""

    def check(self, medium: Any) -> None:  # noqa: B027  most encoders take any medium
        """Refuse a medium this encoder cannot take whole; cheap, so that a server can ask before it does any work.

        Raises:
            MediaLimitError: a sound longer than the encoder's window.
        """

    @abstractmethod
    def preprocess(self, medium: Any) -> Tensor:
        """One decoded medium (RGB `PIL.Image`, or `model.media.Sound`) -> float32 tensor without a batch dimension.

        The result depends on this medium alone, never on its batch neighbours.

        Raises:
            MediaLimitError: a sound longer than the encoder's window.
        """

    @abstractmethod
    def example(self) -> Any:
        """The most expensive medium this encoder accepts, for memory profiling."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The module with uninitialised or random weights: `[batch, *preprocessed] -> [batch, length, dim]`."""

    @abstractmethod
    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename a public checkpoint's tensors to the module's names; tensors of other parts are left out."""

    def classifier(self, weights: Path) -> tuple[Tensor, Tensor] | None:
        """The class head that came with these weights, `[classes, dim]` and `[classes]`; None for most encoders.

        It scores this encoder's own pooled features, so a projector can start from the names of its classes.
        """
        return None

    def preprocess_many(self, media: Sequence[Any]) -> list[Tensor]:
        """`preprocess` for each medium, in order."""
        return [self.preprocess(medium) for medium in media]


def encode(module: nn.Module, inputs: Sequence[Tensor], max_batch: int = MAX_BATCH) -> list[Tensor]:
    """Encode preprocessed media, batching those of equal shape.

    Args:
        module: a built encoder in evaluation mode.
        inputs: preprocessed media; shapes may differ between media (sounds keep their own length).
        max_batch: most media in one forward pass, which bounds memory whatever the caller sends.

    Returns:
        One `[length, dim]` tensor per medium, in the order given.
    """
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for index, item in enumerate(inputs):
        by_shape[item.shape].append(index)
    weight = next(module.parameters())
    features: list[Tensor | None] = [None] * len(inputs)
    for indices in by_shape.values():
        for start in range(0, len(indices), max_batch):
            chunk = indices[start : start + max_batch]
            batch = torch.stack([inputs[i] for i in chunk]).to(device=weight.device, dtype=weight.dtype)
            for index, feature in zip(chunk, module(batch), strict=True):
                features[index] = feature
    return [feature for feature in features if feature is not None]


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `.safetensors`, `.pth`, `.pt`, `.bin` or a directory of them, without running its code.

    Raises:
        CheckpointError: no weights there, or not in one of these formats.
    """
    if path.is_dir():
        shards = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
        if not shards:
            raise CheckpointError(f"{path} holds neither *.safetensors nor pytorch_model*.bin")
        return {name: tensor for shard in shards for name, tensor in load_state(shard).items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        # OpenAI's Whisper files wrap the tensors together with their dimensions.
        state = dict(loaded.get("model_state_dict", loaded))
    # Damaged files end in many kinds of errors, pickles that ask to run code among them.
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable file of weights ({type(error).__name__}: {error})") from None
    if not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path}: not a plain state dict; save the module's state_dict()")
    return state
