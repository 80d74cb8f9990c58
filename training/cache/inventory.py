"""What the caches of all encoders in a folder hold: a table of them, their damage, and what can go."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from model.encoders import EncoderConfig, encoder_config
from model.errors import DataError, QuartetError
from training.cache.claims import clean
from training.cache.facts import FileFacts
from training.cache.shards import PREFIX, SUFFIX, Shard
from training.cache.store import DESCRIPTION, fingerprint


@dataclass(frozen=True)
class Entry:
    """The cache of one encoder."""

    folder: Path
    config: EncoderConfig | None
    """None where this version of Quartet would not use it: another layout, or other preprocessing."""
    weights_sha256: str
    shards: list[Path]
    media: int
    damaged: dict[Path, str]
    """Shards that cannot even be opened, and why."""
    size: int
    """Bytes, of all files."""


def entries(folder: Path) -> list[Entry]:
    """The caches in a folder, by name."""
    return [_entry(path) for path in sorted(folder.glob("*-*")) if path.is_dir()]


def check(entry: Entry, *, repair: bool) -> list[str]:
    """Compare every row of a cache with its checksum.

    Args:
        entry: one that this version uses.
        repair: remove the damaged shards, so that their media are encoded again.

    Returns:
        What is wrong, by path.
    """
    assert entry.config is not None
    problems: list[str] = []
    with tqdm(total=entry.media, desc=f"check {entry.folder.name}", unit="media", leave=False) as bar:
        for path in entry.shards:
            try:
                for _ in Shard(path, entry.folder.name, entry.config.dim).verify():
                    bar.update()
            except FileNotFoundError:
                continue
            except DataError as error:
                problems.append(str(error))
                if repair:
                    path.unlink(missing_ok=True)
    return problems


def prune(folder: Path) -> Iterator[tuple[Path, int]]:
    """Remove the caches that this version does not use, and what dead runs and files that are gone have left.

    Yields:
        What was removed, and its bytes.
    """
    for entry in entries(folder):
        before = _size(entry.folder)
        if clean(entry.folder) == 0 and entry.config is None:
            shutil.rmtree(entry.folder)
            yield entry.folder, before
        elif left := before - _size(entry.folder):
            yield entry.folder / "(what dead runs left)", left
    FileFacts(folder).forget_missing()


def _entry(folder: Path) -> Entry:
    shards = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))
    config, sha256 = _description(folder)
    media, damaged = 0, {}
    for path in shards if config is not None else []:
        try:
            media += len(Shard(path, folder.name, config.dim))  # type: ignore[union-attr]
        except FileNotFoundError:
            continue
        except DataError as error:
            damaged[path] = str(error)
    return Entry(folder, config, sha256, shards, media, damaged, _size(folder))


def _description(folder: Path) -> tuple[EncoderConfig | None, str]:
    """The encoder whose folder this is under the present code, and the hash of its weights."""
    try:
        values = json.loads((folder / DESCRIPTION).read_text())
        sha256 = str(values["weights_sha256"])
        config = encoder_config({"family": values["family"], **values["config"]})
    except (OSError, ValueError, KeyError, TypeError, QuartetError):
        return None, ""
    return (config if fingerprint(config, sha256) == folder.name else None), sha256


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
