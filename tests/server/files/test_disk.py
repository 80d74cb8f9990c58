"""What a folder withstands: a killed process, a full disk, and names that lead elsewhere."""

import ast
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.errors import RefusedError
from server.files import disk, staged
from server.files.disk import DiskObjects
from server.files.library import Library
from server.files.staged import Staged, remove_abandoned
from tests.server.files.media import add, picture

# Uploads without end; says a file's id once it is acknowledged.
UPLOADS = """
import asyncio, sys
from pathlib import Path
from server.files.disk import DiskObjects
from server.files.library import Library
from tests.server.files.media import add, picture

async def main(root):
    library = Library(DiskObjects(root), root / "staging")
    async def one(worker):
        for seed in range(worker, 1_000_000, 4):
            data = picture(seed) + bytes(50_000)
            file = await add(library, data)
            print((file.id, seed), flush=True)
            if seed % 3 == 0:
                await library.remove(file)
                print((file.id, None), flush=True)
    await asyncio.gather(*map(one, range(4)))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("seconds", [0.15, 0.4])
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, seconds: float) -> None:
    root = tmp_path / "store"
    child = subprocess.Popen([sys.executable, "-c", UPLOADS, str(root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    said = [ast.literal_eval(line) for line in lines if line.endswith(")\n")]
    kept = {name: seed for name, seed in said if seed is not None}
    gone = {name for name, seed in said if seed is None}
    assert len(kept) > 4

    remove_abandoned(root / "staging")
    assert list((root / "staging").iterdir()) == []
    library = Library(DiskObjects(root), root / "staging", lambda: time.time() + 7200)
    await library.sweep()
    found = {file.id: file for file in await library.files("open")}
    assert not gone & set(found)
    # What the process was removing when it was killed may or may not be there.
    assert {name for name, seed in kept.items() if seed % 3} <= set(found)
    for file in found.values():
        data = await library.bytes(file)
        assert data is not None
        assert hashlib.sha256(data).hexdigest() == file.sha256
        if file.id in kept:
            assert data == picture(kept[file.id]) + bytes(50_000)
    # Nothing else takes room.
    blobs = {entry.name for entry in await library.objects.entries("") if "/blobs/" in entry.name}
    assert blobs == {file.content for file in found.values()}


async def test_a_name_is_given_to_what_is_on_disk(on_disk: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that a power cut asks for: content, its name, the folder of the name; then the same for the record."""
    steps: list[str] = []

    def kind(path: str) -> str:
        return "folder" if os.path.isdir(path) else "staged" if "/staging/" in path else "named"

    def fsync(handle: int, real: Any = os.fsync) -> None:
        steps.append(f"sync {kind(os.readlink(f'/proc/self/fd/{handle}'))}")
        real(handle)

    def replace(source: Any, target: Any, real: Any = os.replace) -> None:
        steps.append(f"name {'record' if '/files/' in str(target) else 'content'}")
        real(source, target)

    await add(on_disk, picture())  # so that all folders but that of the content are there
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    await add(on_disk, picture(1))
    content = ["sync staged", "sync folder", "name content", "sync folder"]
    assert steps == [*content, "sync staged", "name record", "sync folder"]


async def test_the_same_bytes_take_room_once(on_disk: Library, tmp_path: Path) -> None:
    files = [await add(on_disk, picture(), owner) for owner in ("key.a", "key.a", "key.b")]
    inodes = [(tmp_path / "store" / file.content).stat().st_ino for file in files]
    # But not across owners, who could otherwise find out what others have.
    assert inodes[0] == inodes[1] != inodes[2]
    for file in files:
        await on_disk.remove(file)
    assert not list((tmp_path / "store").glob("*/blobs/*"))


async def test_without_links_each_has_its_own(
    on_disk: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*paths: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    files = [await add(on_disk, picture()) for _ in range(2)]
    await on_disk.remove(files[0])
    assert await on_disk.bytes(files[1]) == picture()


def test_only_what_no_process_writes_is_abandoned(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"half")
    handle, living = staged.new_file(tmp_path)
    assert remove_abandoned(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [living]
    os.close(handle)
    assert remove_abandoned(tmp_path) == 1
    assert remove_abandoned(tmp_path / "nothing") == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_said_and_nothing_half_is_kept(small_disk: Path) -> None:
    library = Library(DiskObjects(small_disk), small_disk / "staging")
    kept = []
    refused = None
    for seed in range(20):
        try:
            kept.append(await add(library, picture(seed) + bytes(30_000)))
        except RefusedError as error:
            refused = error
            break
    assert refused is not None
    assert (refused.error.status, refused.error.code) == (507, "storage_full")
    assert len(kept) > 3
    with pytest.raises(RefusedError, match="no room"):
        await add(library, picture() + bytes(3 << 20))
    # What was acknowledged is there, what was refused is not, and room that is made is room.
    assert await library.files("open") == kept
    assert [await library.bytes(file) for file in kept] == [picture(n) + bytes(30_000) for n in range(len(kept))]
    assert list((small_disk / "staging").iterdir()) == []
    await library.remove(kept[0])
    await library.remove(kept[1])
    assert (await add(library, picture(99) + bytes(30_000))).bytes > 30_000


async def test_a_folder_without_access_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file, where a folder should be")
    library = Library(DiskObjects(tmp_path / "store"), tmp_path / "store" / "staging")
    with pytest.raises(RefusedError) as refused:
        async with Staged(tmp_path / "store" / "staging"):
            pass
    assert (refused.value.error.status, refused.value.error.code) == (503, "storage_unavailable")
    assert await library.files("open") == []


@pytest.mark.parametrize(
    "name", ["../a", "open/../../a", "/etc/passwd", "open//a", ".", "staging/a", "a\0b", "open/.x"]
)
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    objects = DiskObjects(tmp_path / "store")
    with pytest.raises(ValueError, match="no name"):
        await objects.read(name)
    with pytest.raises(ValueError, match="no name"):
        await objects.write(name, b"x")
    with pytest.raises(ValueError, match="no name"):
        await objects.remove(name)


async def test_only_the_owner_of_the_process_may_read(on_disk: Library, tmp_path: Path) -> None:
    file = await add(on_disk, picture())
    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "store" / file.record).is_file()
    assert disk.STAGING == "staging"
