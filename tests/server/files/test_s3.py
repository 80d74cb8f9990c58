"""What several servers share, and what happens when it is gone: with OpenStack Swift's S3 API, stopped and started."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import ConfigurationError, MediaError
from server.errors import RefusedError
from server.files.library import Library
from server.files.resolver import Files
from server.files.s3 import S3Objects
from server.files.setup import open_library
from server.settings import ServerSettings
from tests.server.files.media import add, picture
from tests.support.swift import ACCESS, SECRET, Swift, installed


@pytest.fixture
def own_swift(tmp_path: Path, swift: Swift) -> Iterator[Swift]:
    """One more, that a test may stop."""
    running = Swift(tmp_path / "swift").start()
    yield running
    running.stop()


async def test_what_was_acknowledged_survives_the_end_of_the_service(own_swift: Swift, tmp_path: Path) -> None:
    library = Library(own_swift.objects("a"), tmp_path / "staging")
    kept = [await add(library, picture(seed)) for seed in range(3)]
    own_swift.stop()
    begun = time.monotonic()
    for use in (
        lambda: add(library, picture(9)),
        lambda: library.find("open", kept[0].id),
        lambda: library.files("open"),
        lambda: library.remove(kept[0]),
        lambda: Files(library).read(f"file-id:{kept[0].id}"),
        lambda: library.sweep(),
    ):
        with pytest.raises(RefusedError) as refused:
            await use()
        error = refused.value.error
        assert (error.status, error.code) == (503, "storage_unavailable")
        assert (b"retry-after", b"1") in error.headers()
    assert time.monotonic() - begun < 60
    # Nothing half is left here either.
    assert list((tmp_path / "staging").iterdir()) == []
    own_swift.start()
    another = Library(own_swift.objects("a"), tmp_path / "staging")
    assert await another.files("open") == kept
    assert [await another.bytes(file) for file in kept] == [picture(seed) for seed in range(3)]
    assert await library.files("open") == kept


async def test_servers_with_the_same_settings_share_files(swift: Swift, tmp_path: Path) -> None:
    one, two = (
        open_library(ServerSettings(files_dir=str(tmp_path / name), **swift.settings("shared"))) for name in "ab"
    )
    file = await add(one, picture())
    assert await Files(two).read(f"file-id:{file.id}") == picture()
    other = open_library(ServerSettings(files_dir=str(tmp_path / "c"), **swift.settings("another")))
    with pytest.raises(MediaError, match="no file with this id"):
        await Files(other).read(f"file-id:{file.id}")


@pytest.mark.parametrize("bucket", ["s3://nothing", "s3://files"])
async def test_a_wrong_bucket_or_key_is_unavailable(swift: Swift, tmp_path: Path, bucket: str) -> None:
    secret = SECRET if bucket == "s3://nothing" else "wrong"
    library = Library(S3Objects(bucket, swift.url, credentials=(ACCESS, secret)), tmp_path / "staging")
    with pytest.raises(RefusedError, match="does not answer"):
        await add(library, picture())


@pytest.mark.parametrize("url", ["", "s3://", "https://bucket", "/folder", "bucket"])
def test_what_is_no_bucket_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        S3Objects(url)


def test_swift_is_what_it_says() -> None:
    if not installed():
        pytest.skip("no Swift here")
    assert Path("/usr/lib/python3/dist-packages/swift/common/middleware/s3api/s3api.py").is_file()
