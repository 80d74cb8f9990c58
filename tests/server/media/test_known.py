"""The connector asks what is known before it reads or decodes: by content, by id, and for one key at a time."""

import base64
import hashlib
import io
from typing import Any

import pytest
import torch
from PIL import Image

from server import connector, resolvers
from server.connector import QuartetConnector
from server.exchange import Exchange, begin
from server.keys.key import Key, hashed
from server.media.once import Once, medium_key
from server.resolvers import register_resolver

ALICE, BOB = (Key(name=name, hash=hashed(name)) for name in ("alice", "bob"))


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 3), (seed, 0, 0)).save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Files:
    """One file, which says how often it was read."""

    reads = 0

    async def modality(self, url: str) -> str:
        return "image"

    async def digest(self, url: str) -> str:
        return hashlib.sha256(png()).hexdigest()

    async def read(self, url: str) -> bytes:
        self.reads += 1
        return png()


class Engine:
    """Holds what it was given, as the engine's cache does after a request."""

    def __init__(self) -> None:
        self.held: dict[str, torch.Tensor] = {}
        self.charged: list[tuple[str, int]] = []

    def prepared(self, key: str, modality: str) -> torch.Tensor | None:
        return self.held.get(key)

    async def fetch(self, url: str, key: Key | None = None) -> str:
        """`decoded` or `known`; afterwards it is held."""

        async def charge(modality: str, size: int) -> None:
            self.charged.append((modality, size))

        begin(Exchange(request_id="a", key=key, media_gates=[charge]))
        medium = await QuartetConnector().fetch_image_async(url)
        known = medium.key in self.held
        assert (medium.prepared is not None) == known
        self.held[medium.key] = torch.ones(1)
        return "known" if known else "decoded"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(resolvers, "_resolvers", dict(resolvers._resolvers))
    made = Files()
    register_resolver("file-id", made)
    return made


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    once, held = Once(), Engine()
    monkeypatch.setattr(connector, "once", once)
    once.use(held)  # type: ignore[arg-type]
    return held


async def test_however_a_medium_comes_again_it_is_known(engine: Engine, files: Files) -> None:
    assert await engine.fetch(data_url(png())) == "decoded"
    assert await engine.fetch(data_url(png())) == "known"
    assert await engine.fetch(data_url(png(), "application/octet-stream")) == "known"
    assert await engine.fetch("file-id:file-1") == "known"
    # Not even its bytes were wanted.
    assert files.reads == 0
    assert await engine.fetch(data_url(png(1))) == "decoded"
    # What is not decoded costs a key nothing.
    assert engine.charged == [("image", 60), ("image", 60)]


async def test_a_file_that_is_not_known_is_read_and_decoded(engine: Engine, files: Files) -> None:
    assert await engine.fetch("file-id:file-1") == "decoded"
    assert files.reads == 1
    assert await engine.fetch(data_url(png())) == "known"


async def test_what_one_key_sent_is_new_for_another(engine: Engine) -> None:
    results = [await engine.fetch(data_url(png()), key) for key in (ALICE, BOB, None, ALICE, BOB, None)]
    assert results == ["decoded"] * 3 + ["known"] * 3


async def test_the_name_is_the_server_s(engine: Engine) -> None:
    await engine.fetch(data_url(png()), ALICE)
    assert list(engine.held) == [medium_key(ALICE, "image", hashlib.sha256(png()).hexdigest())]


async def test_a_sound_of_the_same_bytes_is_another_medium(engine: Engine, files: Files) -> None:
    await engine.fetch(data_url(png()))
    begin(Exchange(request_id="a"))
    error: Any = None
    try:
        await QuartetConnector().fetch_audio_async(data_url(png()))
    except Exception as raised:
        error = raised
    assert "sound" in str(error)
