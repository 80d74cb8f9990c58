"""Media on their way into the engine: what a request may hold, and what identifies a medium in the caches.

The engine hands over decoded pictures (`PIL.Image`, bare or with their file's bytes) and sounds (samples and their
rate). They stay as they are: every encoder prepares them itself, exactly as in the reference model, and a sound keeps
its own length and sampling rate until then.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MediaWithBytes
from vllm.multimodal.parse import ModalityDataItems, MultiModalDataParser, ProcessorBatchItems

from model.errors import MediaError
from model.media import Sound
from model.vllm_adapter.prepared import Keyed

Medium = Image.Image | Sound


class MediaItems(ProcessorBatchItems[Any]):
    """The media of one modality, in reading order; each is checked when the list is made.

    Raises:
        VLLMValidationError: `parameter` is `<modality>[<index>]`, counted over the whole prompt.
    """

    def __init__(self, data: list[Any], modality: str, check: Callable[[Medium], None]) -> None:
        super().__init__([_medium(item, modality, index) for index, item in enumerate(data)], modality)
        for index, item in enumerate(self.get_all()):
            medium = item.medium if isinstance(item, Keyed) else item
            if medium is None:
                continue  # known already: it was checked before
            try:
                check(medium)
            except MediaError as error:
                raise VLLMValidationError(str(error), parameter=f"{modality}[{index}]") from None

    def get_item_for_hash(self, index: int) -> Any:
        """What makes a medium the same medium: its key or its file's bytes if known, else its pixels or samples."""
        item = self.data[index]
        if isinstance(item, Keyed):
            return item.key
        return (item.samples, item.sampling_rate) if isinstance(item, Sound) else item


class MediaParser(MultiModalDataParser):
    """Takes any modality of the model, without the engine's own conversions (its resampler is not the reference's)."""

    def __init__(self, checks: Mapping[str, Callable[[Medium], None]]) -> None:
        super().__init__()
        self._checks = dict(checks)

    def _get_subparsers(self) -> dict[str, Callable[[Any], ModalityDataItems[Any, Any] | None]]:
        return {modality: self._subparser(modality) for modality in self._checks}

    def _subparser(self, modality: str) -> Callable[[Any], ModalityDataItems[Any, Any] | None]:
        def parse(data: Any) -> ModalityDataItems[Any, Any] | None:
            if data is None:
                return None
            many = isinstance(data, list)
            return MediaItems(data if many else [data], modality, self._checks[modality])

        return parse


def _medium(item: Any, modality: str, index: int) -> Any:
    """One item in the form the encoders take.

    Raises:
        VLLMValidationError: nothing there, or another kind of object than a picture or a sound with its rate.
    """
    where = f"{modality}[{index}]"
    if item is None:
        raise VLLMValidationError("the part holds no data; send the medium itself every time", parameter=where)
    if isinstance(item, Sound) or (isinstance(item, Keyed) and (item.medium is None) != (item.prepared is None)):
        return item
    if isinstance(item, MediaWithBytes) and isinstance(item.media, Image.Image):
        return item
    if isinstance(item, Image.Image):
        return item.convert("RGB")
    if isinstance(item, tuple) and len(item) == 2:
        samples, rate = item
        mono = np.asarray(samples, dtype=np.float32)
        if mono.ndim == 1 and len(mono) and np.isfinite(mono).all() and rate and rate > 0:
            return Sound(np.ascontiguousarray(mono), int(rate))
    raise VLLMValidationError(
        f"{type(item).__name__} is not a medium: give a picture, or (finite mono samples, sampling rate)",
        parameter=where,
    )
