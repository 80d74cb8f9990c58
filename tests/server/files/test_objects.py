"""What every place must do, tried on a folder and on OpenStack Swift's S3 API."""

import asyncio
import hashlib
import os
import time
from pathlib import Path

from server.files.objects import Objects


async def all_of(objects: Objects, name: str) -> bytes | None:
    pieces = await objects.open(name)
    return None if pieces is None else b"".join([piece async for piece in pieces])


async def test_what_is_written_is_read_listed_and_removed(objects: Objects) -> None:
    assert await objects.read("open/files/a") is None
    assert await all_of(objects, "open/files/a") is None
    assert await objects.entries("open/files") == []
    await objects.write("open/files/a", b"one")
    await objects.write("open/files/b", b"two")
    await objects.write("key.x/files/a", b"three")
    assert await objects.read("open/files/a") == b"one"
    assert await all_of(objects, "open/files/b") == b"two"
    assert sorted(entry.name for entry in await objects.entries("open/files")) == ["open/files/a", "open/files/b"]
    assert len(await objects.entries("")) == 3
    assert all(abs(entry.modified - time.time()) < 100 for entry in await objects.entries(""))
    await objects.write("open/files/a", b"new")
    assert await objects.read("open/files/a") == b"new"
    await objects.remove("open/files/a")
    await objects.remove("open/files/a")
    assert [entry.name for entry in await objects.entries("open/files")] == ["open/files/b"]


async def test_a_folder_is_not_the_beginning_of_another_name(objects: Objects) -> None:
    await objects.write("key.alice/files/a", b"1")
    await objects.write("key.alice2/files/a", b"1")
    assert [entry.name for entry in await objects.entries("key.alice/files")] == ["key.alice/files/a"]


async def test_large_files_come_back_as_they_were(objects: Objects, tmp_path: Path) -> None:
    data = os.urandom(12 * 1024 * 1024 + 17)
    folder = f"open/blobs/{hashlib.sha256(data).hexdigest()}"
    (tmp_path / "store" / "staging").mkdir(parents=True)
    for name in "ab":
        staged = tmp_path / "store" / "staging" / name
        staged.write_bytes(data)
        await objects.take(f"{folder}/{name}", staged)
    await objects.remove(f"{folder}/a")
    assert await all_of(objects, f"{folder}/b") == data
    assert await objects.read(f"{folder}/a") is None
    await objects.remove(f"{folder}/b")
    assert await objects.entries("") == []


async def test_objects_come_and_go_at_the_same_time(objects: Objects, tmp_path: Path) -> None:
    folder, staging = f"open/blobs/{'0' * 64}", tmp_path / "store" / "staging"
    staging.mkdir(parents=True)

    async def come_and_go(index: int) -> None:
        staged = staging / str(index)
        staged.write_bytes(b"same")
        await objects.take(f"{folder}/{index}", staged)
        assert await objects.read(f"{folder}/{index}") == b"same"
        await objects.remove(f"{folder}/{index}")

    await asyncio.gather(*map(come_and_go, range(24)))
    assert await objects.entries("") == []
