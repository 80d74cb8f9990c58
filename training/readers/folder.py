"""A folder of pictures and sounds with captions.

Either every medium has a text file of the same name beside it (`cats/1.jpg`, `cats/1.txt`), or the folder holds a
table `metadata.csv` or `metadata.jsonl` whose column `file_name` names the medium, as in Hugging Face's ImageFolder;
its other columns are those of `rows`. Subfolders belong to it; hidden files do not. A medium without a caption, a
caption without a medium, and a file that is neither are problems: nothing in the folder is passed over in silence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from model.errors import DataError
from training.problems import Kind, SampleError
from training.readers.base import SUFFIXES, Draft, existing
from training.readers.json_items import json_items
from training.readers.rows import RowReader
from training.readers.table import table_rows

CAPTION = ".txt"
TABLES = ("metadata.csv", "metadata.jsonl")


class FolderReader(RowReader):
    """A folder with captioned media."""

    name: ClassVar[str] = "folder"

    def records(self) -> Iterator[tuple[str, Any]]:
        """Media in the order of their names, or the rows of the table in their own."""
        folder = existing(self.source)
        if not folder.is_dir():
            raise DataError(f"{folder}: is no folder")
        tables = [folder / name for name in TABLES if (folder / name).is_file()]
        if len(tables) > 1:
            raise DataError(f"{folder}: holds both {' and '.join(TABLES)}; remove one")
        return _named(folder, tables[0]) if tables else _beside(folder)

    def drafts(self, record: Any) -> list[Draft]:
        """A medium with its caption, or a row of the table."""
        if isinstance(record, Path):
            return super().drafts({"file": str(record.resolve()), "answer": _caption(record)})
        return super().drafts(record)


def _beside(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every medium, and what is neither a medium nor the caption of one."""
    for path in _files(folder):
        kind = path.suffix.lower()
        if kind in SUFFIXES:
            yield str(path), path
        elif kind != CAPTION:
            yield (
                str(path),
                SampleError(
                    Kind.UNUSED,
                    f"neither a picture, a sound nor a caption ({', '.join(SUFFIXES)}, {CAPTION}); remove the file",
                ),
            )
        elif not any(path.with_suffix(suffix).is_file() for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))):
            yield str(path), SampleError(Kind.UNUSED, "a caption without a picture or sound of the same name")


def _named(folder: Path, table: Path) -> Iterator[tuple[str, Any]]:
    """Every row of the table, and the files that none of them names."""
    unused = set(_files(folder)) - {table}
    for where, record in table_rows(table) if table.suffix == ".csv" else json_items(table):
        if isinstance(record, dict):
            unused -= {folder / name for name in record.values() if isinstance(name, str) and "\0" not in name}
        yield where, record
    for path in sorted(unused):
        yield str(path), SampleError(Kind.UNUSED, f"{table.name} does not name it; remove the file or add a line")


def _files(folder: Path) -> Iterator[Path]:
    """Files in the order of their paths; hidden ones and what is in hidden folders left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _caption(path: Path) -> str:
    """The text beside a medium.

    Raises:
        SampleError: none, an empty one, or no UTF-8.
    """
    caption = path.with_suffix(CAPTION)
    try:
        text = caption.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        raise SampleError(Kind.NO_CAPTION, f"no caption: {caption.name} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(Kind.NO_CAPTION, f"{caption.name} cannot be read ({error})") from None
    if not text:
        raise SampleError(Kind.NO_CAPTION, f"{caption.name} is empty")
    return text
