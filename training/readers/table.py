"""CSV and TSV tables with a header: a picture or sound, a question, an answer; which column is what, see `rows`.

    file,answer
    a.png,a cat

Tabs separate the cells of a file that ends in `.tsv`, commas those of any other; quoting is that of spreadsheets.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from model.errors import DataError
from training.data import MAX_LINE
from training.problems import Kind, SampleError
from training.readers.base import existing
from training.readers.rows import RowReader


class TableReader(RowReader):
    """A CSV or TSV file."""

    name: ClassVar[str] = "csv"

    def records(self) -> Iterator[tuple[str, Any]]:
        """The rows, each with its last line."""
        return table_rows(existing(self.source))


def table_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a table as column -> cell; a `SampleError` in the place of one with too many or too few cells.

    Raises:
        DataError: the file cannot be read, or its header or quoting is broken.
    """
    csv.field_size_limit(MAX_LINE)
    number = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, dialect="excel-tab" if path.suffix.lower() == ".tsv" else "excel", strict=True)
            header = next(rows, None)
            if not header:
                raise DataError(f"{path}: holds no header")
            if len(set(header)) != len(header):
                raise DataError(f"{path}:1: two columns share a name: {', '.join(header)}")
            for cells in rows:
                number = rows.line_num
                if cells and len(cells) != len(header):
                    yield (
                        f"{path}:{number}",
                        SampleError(Kind.SHAPE, f"{len(cells)} cells, the header has {len(header)}"),
                    )
                elif cells:
                    yield f"{path}:{number}", dict(zip(header, cells, strict=True))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a valid table after line {number} ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
