r"""LLaVA's annotation files: an array (or lines) of conversations beside a folder of pictures.

    {"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
                                                    {"from": "gpt", "value": "A cat."}]}

`image` is a name or a list of names, as in the multi-image data of LLaVA-NeXT; `audio` is read the same way with the
marker `<audio>`. Media stand where their markers are (LLaVA's own code moves a single picture to the front). Other keys
with plain values are kept in `meta`.

Source: docs/Finetune_Custom_Data.md of haotian-liu/LLaVA.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from training.problems import Kind, SampleError
from training.readers.base import Draft, Medium, Reader, existing
from training.readers.json_items import json_items
from training.readers.markers import MARKERS, place, turns_of
from training.readers.rows import plain_values, text_id

VIDEO = ("video", "videos")


class LlavaReader(Reader):
    """A file in LLaVA's format."""

    name: ClassVar[str] = "llava"

    def records(self) -> Iterator[tuple[str, Any]]:
        """The items of the file, with their first lines."""
        return json_items(existing(self.source))

    def drafts(self, record: Any) -> list[Draft]:
        """Texts as they are, markers replaced by media."""
        if not isinstance(record, Mapping) or "conversations" not in record:
            raise SampleError(Kind.SHAPE, "expected an object with conversations")
        for key in VIDEO:
            if record.get(key):
                raise SampleError(Kind.SHAPE, f"{key}: only pictures and sounds are read")
        media = []
        for modality in MARKERS.values():
            names = record.get(modality)
            for name in names if isinstance(names, list) else [] if names is None else [names]:
                media.append(Medium(modality, self.file(name, modality)))
        rest = {key: value for key, value in record.items() if key not in ("id", "conversations", *MARKERS.values())}
        meta, left_out = plain_values(rest)
        self.left_out |= left_out
        turns = place(turns_of(record["conversations"], "conversations"), media)
        return [Draft(turns=turns, id=text_id(record.get("id")), meta=meta)]
