"""Readers: the public formats of multimodal training data, each in a file, turned into Quartet's own samples.

To add a format: a class in a file of its own, and its name here.
"""

from training.readers.base import Draft, Medium, Options, Reader, Turn
from training.readers.folder import FolderReader
from training.readers.huggingface import HuggingFaceReader
from training.readers.llava import LlavaReader
from training.readers.s3 import S3Reader
from training.readers.table import TableReader

READERS: dict[str, type[Reader]] = {
    reader.name: reader for reader in (LlavaReader, S3Reader, HuggingFaceReader, FolderReader, TableReader)
}

__all__ = ["READERS", "Draft", "Medium", "Options", "Reader", "Turn"]
