"""Every medium that is looked at ends in one outcome."""

import asyncio
import base64
from typing import Any

import pytest
from vllm.exceptions import VLLMValidationError

from model.errors import MediaError
from server import connector, resolvers
from server.connector import QuartetConnector
from server.content import normalise
from server.errors import RefusedError
from server.exchange import Exchange, begin
from server.metrics.media import reading
from tests.support.metrics import Scrape
from tests.support.tiny import picture_bytes, sound_bytes


def data_url(data: bytes) -> str:
    return "data:;base64," + base64.b64encode(data).decode()


@pytest.fixture
def before() -> Scrape:
    begin(Exchange(request_id="test"))
    return Scrape.of_process()


class Files:
    """A source of files, as the Files API is one."""

    async def modality(self, url: str) -> str:
        return "image"

    async def read(self, url: str) -> bytes:
        if url.endswith("gone"):
            raise MediaError("no such file")
        await asyncio.sleep(0.01)
        return picture_bytes(1)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(resolvers._resolvers, "file-id", Files())


async def test_decoded_and_refused_by_modality_and_source(before: Scrape, files: None) -> None:
    reader = QuartetConnector()
    await reader.fetch_image_async(data_url(picture_bytes(0)))
    await reader.fetch_audio_async(data_url(sound_bytes(0)))
    await reader.fetch_image_async("file-id:file-1")
    for url in (data_url(b"no picture"), "file-id:gone", "gopher://a/b", "https://a/b"):
        with pytest.raises(VLLMValidationError):
            await reader.fetch_image_async(url)
    added = Scrape.of_process() - before
    assert added.by("quartet_media_items_total", "modality", "source", "outcome") == {
        ("image", "data", "decoded"): 1,
        ("audio", "data", "decoded"): 1,
        ("image", "file", "decoded"): 1,
        ("image", "data", "refused"): 1,
        ("image", "file", "refused"): 1,
        ("image", "unknown", "refused"): 1,
        ("image", "url", "refused"): 1,
    }
    assert added.by("quartet_media_bytes_total", "modality", "source") == {
        ("image", "data"): len(picture_bytes(0)) + len(b"no picture"),
        ("audio", "data"): len(sound_bytes(0)),
        ("image", "file"): len(picture_bytes(1)),
    }
    assert added.by("quartet_media_decode_seconds_count", "modality") == {("image",): 3, ("audio",): 1}
    assert added.by("quartet_media_fetch_seconds_count", "source") == {("file",): 1}
    assert added.total("quartet_media_fetch_seconds_sum") >= 0.01
    assert "quartet_media_pending" not in added.names()


async def test_parts_that_are_refused_before_they_are_read(before: Scrape) -> None:
    def message(part: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [part]}]

    for part in (
        {"type": "image_url"},
        {"type": "input_audio", "input_audio": {}},
        {"type": "file", "file": {"file_data": data_url(b"plain text")}},
    ):
        with pytest.raises(RefusedError):
            await normalise(message(part), "messages")
    added = Scrape.of_process() - before
    assert added.by("quartet_media_items_total", "modality", "source", "outcome") == {
        ("image", "unknown", "refused"): 1,
        ("audio", "unknown", "refused"): 1,
        ("unknown", "data", "refused"): 1,
    }


async def test_cached_and_abandoned(before: Scrape) -> None:
    with reading("image", "file-id:file-1") as medium:
        medium.known()

    async def forever() -> None:
        with reading("audio", "data:x"):
            await asyncio.sleep(60)

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    assert (Scrape.of_process() - before).total("quartet_media_pending") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    added = Scrape.of_process() - before
    assert added.by("quartet_media_items_total", "modality", "source", "outcome") == {
        ("image", "file", "cached"): 1,
        ("audio", "data", "abandoned"): 1,
    }
    assert added.by("quartet_media_cache_hits_total", "modality") == {("image",): 1}
    assert "quartet_media_pending" not in added.names()


async def test_bytes_of_a_request(before: Scrape) -> None:
    exchange = Exchange(request_id="test")
    begin(exchange)
    await asyncio.gather(*(QuartetConnector().fetch_image_async(data_url(picture_bytes(n))) for n in range(3)))
    assert exchange.media_bytes == sum(len(picture_bytes(n)) for n in range(3))
    assert connector.NAME == "quartet"
