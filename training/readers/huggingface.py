"""Hugging Face datasets: on disk, streamed from the hub, or a folder that `datasets` recognises.

    data/                           Parquet or Arrow files, ImageFolder, AudioFolder, WebDataset, ...
    saved/                          what `save_to_disk` wrote
    part.parquet, part.arrow        one file
    hub:org/name@revision           streamed: rows are read as they arrive, nothing is kept but what is converted;
                                    media must be inside the table, as they are in Parquet

Which column is what, see `rows`; class labels become their names. Pictures and sounds are taken as the bytes they are,
never decoded, so none of the decoders that `datasets` would want is needed.

Source: the documentation of `datasets` 5 (Stream; Load image data; Load audio data).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from model.errors import DataError, QuartetError
from training.problems import Kind, SampleError
from training.readers.base import Medium, existing
from training.readers.rows import RowReader

if TYPE_CHECKING:
    from datasets import IterableDataset

HUB = re.compile(r"hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
# File ending -> builder of `datasets`.
FILES = {".parquet": "parquet", ".arrow": "arrow"}
DEFAULT_SPLIT = "train"


class HuggingFaceReader(RowReader):
    """A dataset that the library `datasets` can open."""

    name: ClassVar[str] = "hf"

    def records(self) -> Iterator[tuple[str, Any]]:
        """The rows in order, numbered from 1."""
        split = self.options.split or DEFAULT_SPLIT
        try:
            dataset, typed = open_dataset(self.source, split)
            self.options = replace(self.options, columns={**typed, **self.options.columns})
            names = _class_names(dataset.features)
            for number, row in enumerate(dataset, start=1):
                for column, labels in names.items():
                    if isinstance(row[column], int) and 0 <= row[column] < len(labels):
                        row[column] = labels[row[column]]
                yield f"{self.source}, {split} record {number}", row
        except QuartetError:
            raise
        # The library raises whatever its many file formats and its HTTP client raise.
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise DataError(f"{self.source}: split {split!r} cannot be read ({why})") from error

    def medium(self, value: Any, role: str, column: str) -> Medium:
        """A cell that is undecoded, or names a file."""
        if not isinstance(value, Mapping):
            return super().medium(value, role, column)
        data, name = value.get("bytes"), value.get("path")
        if isinstance(data, bytes) and role != "file":
            return Medium(role, data=data)
        if data is None and isinstance(name, str) and "://" in name:
            raise SampleError(
                Kind.MISSING,
                f"column {column!r}: {name[:80]!r} is not in the table; download the dataset first",
            )
        if data is None and isinstance(name, str):
            return super().medium(name, role, column)
        raise SampleError(Kind.SHAPE, f"column {column!r}: expected bytes or the path of a file")


def open_dataset(source: str, split: str) -> tuple["IterableDataset", dict[str, str]]:
    """One split, its rows read as they are asked for, its media left undecoded; and the first column of each modality.

    Raises:
        DataError: no such source, or `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError:
        raise DataError('reading Hugging Face datasets needs `datasets`: pip install "quartet[train]"') from None
    if match := HUB.fullmatch(source):
        opened = datasets.load_dataset(match["name"], revision=match["revision"], split=split, streaming=True)
    else:
        opened = _open_local(existing(source), split)
    # Only now known for formats that do not say it at their beginning.
    if opened.features is None:
        opened = opened._resolve_features()
    features = {name: _undecoded(value) for name, value in opened.features.items()}
    typed = {
        modality: name
        for modality, kind in (("image", datasets.Image), ("audio", datasets.Audio))
        for name in [column for column, value in opened.features.items() if _holds(value, kind)][:1]
    }
    return opened.cast(datasets.Features(features)), typed


def _open_local(path: Path, split: str) -> Any:
    import datasets

    if path.is_file():
        builder = FILES.get(path.suffix.lower())
        if builder is None:
            raise DataError(f"{path}: expected a folder or a file that ends in {' or '.join(FILES)}")
        # The library knows all rows of one file as `train`, whatever their use.
        return datasets.load_dataset(builder, data_files={split: str(path)}, split=split, streaming=True)
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        saved = datasets.load_from_disk(str(path))
        splits = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or DEFAULT_SPLIT): saved}
        if split not in splits:
            raise DataError(f"{path}: has no split {split!r}; it has {', '.join(splits)}")
        return splits[split].to_iterable_dataset()
    return datasets.load_dataset(str(path), split=split, streaming=True)


def _undecoded(feature: Any) -> Any:
    """The same feature, with media as bytes or paths."""
    import datasets

    # Bytes and a path, whatever the medium: the library's own type for sounds asks for a decoder even to pass them on.
    if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
        return datasets.Image(decode=False)
    if isinstance(feature, datasets.List):
        return datasets.List(_undecoded(feature.feature), length=feature.length)
    if isinstance(feature, datasets.LargeList):
        return datasets.LargeList(_undecoded(feature.feature))
    if isinstance(feature, dict):
        return {name: _undecoded(value) for name, value in feature.items()}
    return feature


def _holds(feature: Any, kind: type) -> bool:
    """Whether a column holds media of a kind, or lists of them."""
    import datasets

    inner = feature.feature if isinstance(feature, datasets.List | datasets.LargeList) else feature
    return isinstance(inner, kind)


def _class_names(features: Any) -> dict[str, list[str]]:
    """Columns of class labels -> the names of the classes."""
    import datasets

    return {name: value.names for name, value in features.items() if isinstance(value, datasets.ClassLabel)}
