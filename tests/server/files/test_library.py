"""Files of owners: whole or not there, theirs alone, within their quota, and gone when they should be."""

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from model.errors import MediaError
from server.errors import RefusedError
from server.files.library import ABANDONED, Library, Quota
from server.files.objects import Objects
from server.files.stored import StoredFile
from tests.server.files.media import add, picture, sound
from tests.support.metrics import Scrape

ALICE, BOB = "key.alice", "key.bob"


async def everything(library: Library) -> list[str]:
    return sorted(entry.name for entry in await library.objects.entries(""))


async def test_a_file_is_kept_as_it_came(library: Library) -> None:
    data = picture()
    file = await add(library, data, ALICE, filename="cat.png")
    assert (file.bytes, file.sha256, file.modality) == (len(data), hashlib.sha256(data).hexdigest(), "image")
    assert await library.find(ALICE, file.id) == file
    assert await library.bytes(file) == data
    pieces = await library.content(file)
    assert pieces is not None
    assert b"".join([piece async for piece in pieces]) == data
    assert await everything(library) == [file.content, file.record]
    assert (await add(library, sound(), ALICE)).modality == "audio"


async def test_what_is_no_medium_is_not_kept(library: Library) -> None:
    with pytest.raises(MediaError, match="neither a picture nor a sound"):
        await add(library, b"%PDF-1.7 and more", ALICE)
    assert await everything(library) == []


async def test_the_same_bytes_are_two_files(library: Library) -> None:
    one, two = await add(library, picture(), ALICE), await add(library, picture(), ALICE)
    assert one.id != two.id
    await library.remove(one)
    assert await library.find(ALICE, one.id) is None
    assert await library.bytes(two) == picture()
    await library.remove(two)
    assert await everything(library) == []


async def test_nobody_finds_what_is_not_theirs(library: Library) -> None:
    file = await add(library, picture(), ALICE)
    unknown = "file-" + "0" * 44
    for name in (file.id, unknown, f"../{ALICE}/files/{file.id}", "../../etc/passwd", "", "file-", file.id.upper()):
        assert await library.find(BOB, name) is None
    assert await library.files(BOB) == []
    assert await library.files(ALICE) == [file]


async def test_files_are_listed_in_the_order_of_their_coming(library: Library) -> None:
    files = []
    for seed in range(4):
        files.append(await add(library, picture(seed), ALICE))
        await asyncio.sleep(0.002)
    assert await library.files(ALICE) == files


async def test_an_expired_file_is_gone_before_it_is_removed(objects: Objects, tmp_path: Path) -> None:
    now = [1000.0]
    library = Library(objects, tmp_path / "staging", lambda: now[0])
    file = await add(library, picture(), ALICE, seconds=60)
    stays = await add(library, picture(1), ALICE)
    assert (file.created_at, file.expires_at) == (1000, 1060)
    now[0] = 1059.9
    assert await library.find(ALICE, file.id) == file
    assert await library.sweep() == 0
    now[0] = 1060.0
    assert await library.find(ALICE, file.id) is None
    assert await library.files(ALICE) == [stays]
    assert await library.sweep() == 1
    assert await everything(library) == [stays.content, stays.record]
    scrape = Scrape.of_process()
    assert (scrape.total("quartet_files_stored"), scrape.total("quartet_files_stored_bytes")) == (1, stays.bytes)


async def test_bytes_without_a_record_go_when_they_are_old(objects: Objects, tmp_path: Path) -> None:
    import time

    later = [0.0]
    library = Library(objects, tmp_path / "store" / "staging", lambda: time.time() + later[0])
    file, half = await add(library, picture(), ALICE), await add(library, picture(1), ALICE)
    # As a process leaves it that is killed before the record is written.
    await objects.remove(half.record)
    assert await library.sweep() == 0
    later[0] = ABANDONED + 100
    assert await library.sweep() == 1
    assert await everything(library) == [file.content, file.record]


async def test_another_server_sees_the_same_files(objects: Objects, tmp_path: Path) -> None:
    one, two = Library(objects, tmp_path / "store" / "staging"), Library(objects, tmp_path / "store" / "staging")
    file = await add(one, picture(), ALICE)
    assert await two.find(ALICE, file.id) == file
    assert await two.files(ALICE) == [file]
    await two.remove(file)
    assert await one.find(ALICE, file.id) is None
    assert await one.files(ALICE) == []


async def test_the_quota_counts_files_and_bytes(library: Library) -> None:
    size = len(picture())
    quota = Quota(files=2, bytes=10 * size)
    first = await add(library, picture(), ALICE, quota=quota)
    await add(library, picture(), ALICE, quota=quota)
    with pytest.raises(RefusedError) as refused:
        await add(library, picture(), ALICE, quota=quota)
    assert (refused.value.error.status, refused.value.error.code) == (403, "quota_exceeded")
    await add(library, picture(), BOB, quota=quota)
    await library.remove(first)
    assert await library.room(ALICE, quota) == 9 * size
    await add(library, picture(), ALICE, quota=quota)
    with pytest.raises(RefusedError):
        await add(library, picture(), BOB, quota=Quota(files=100, bytes=2 * size - 1))


async def test_uploads_at_the_same_time_share_one_quota(library: Library) -> None:
    quota = Quota(files=3, bytes=1 << 20)
    results = await asyncio.gather(
        *(add(library, picture(seed), ALICE, quota=quota) for seed in range(8)), return_exceptions=True
    )
    kept = [result for result in results if isinstance(result, StoredFile)]
    refused = [result for result in results if isinstance(result, RefusedError)]
    assert (len(kept), len(refused)) == (3, 5)
    assert {file.id for file in await library.files(ALICE)} == {file.id for file in kept}


@pytest.mark.parametrize(
    "change", [b"{", b"[]", b"\xff", {"bytes": "many"}, {"filename": ""}, {"owner": BOB}, {"x": 1}]
)
async def test_a_broken_record_is_left_out(on_disk: Library, tmp_path: Path, change: bytes | dict[str, object]) -> None:
    good, file = await add(on_disk, picture(), ALICE), await add(on_disk, picture(), ALICE)
    broken = change if isinstance(change, bytes) else json.dumps(file.model_dump() | change).encode()
    await on_disk.objects.write(file.record, broken)
    # One that has not written them itself, and reads them for the first time.
    another = Library(on_disk.objects, tmp_path / "staging")
    assert await another.find(ALICE, file.id) is None
    assert await another.files(ALICE) == [good]
    assert await another.sweep() == 0


async def test_a_record_that_is_known_is_not_read_again_to_list_and_count(on_disk: Library) -> None:
    read: list[str] = []
    real = on_disk.objects.read

    async def reading(name: str) -> bytes | None:
        read.append(name)
        return await real(name)

    on_disk.objects.read = reading  # type: ignore[method-assign]
    files = [await add(on_disk, picture(seed), ALICE) for seed in range(3)]
    assert await on_disk.files(ALICE) == files
    assert await on_disk.sweep() == 0
    assert read == []


async def test_a_client_that_leaves_leaves_nothing(on_disk: Library, tmp_path: Path) -> None:
    async with on_disk.stage() as staged:
        await staged.add(picture() + bytes(3 << 20))
        assert staged.path.stat().st_size > 1 << 20
    assert list((tmp_path / "store" / "staging").iterdir()) == []

    async def leaves() -> None:
        async with on_disk.stage() as staged:
            await staged.add(picture() + bytes(3 << 20))
            await asyncio.sleep(60)

    task = asyncio.create_task(leaves())
    while not any((tmp_path / "store" / "staging").iterdir()):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "store" / "staging").iterdir()) == []
