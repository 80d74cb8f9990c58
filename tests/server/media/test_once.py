"""Media that are known: by content and key, decoded once however many ask, and never by what a client says."""

import asyncio
import gc
from typing import Any

import pytest
import torch
from PIL import Image

from model.errors import MediaError
from model.vllm_adapter.prepared import Keyed
from server.keys.key import Key, hashed
from server.media.once import Once, medium_key

ALICE, BOB = (Key(name=name, hash=hashed(name)) for name in ("alice", "bob"))
A, B = "a" * 64, "b" * 64


class Cache:
    """Holds what is in the mapping."""

    def __init__(self, **held: torch.Tensor) -> None:
        self.held = held

    def prepared(self, key: str, modality: str) -> torch.Tensor | None:
        return self.held.get(f"{modality}_{key}")


def picture() -> Image.Image:
    return Image.new("RGB", (2, 2))


def test_a_key_is_that_of_content_kind_and_owner() -> None:
    keys = {
        medium_key(owner, modality, digest)  # type: ignore[arg-type]
        for owner in (None, ALICE, BOB, Key(name="open", hash=hashed("open")))
        for modality in ("image", "audio")
        for digest in (A, B)
    }
    assert len(keys) == 16
    assert medium_key(ALICE, "image", A) == medium_key(Key(name="alice", hash=hashed("other")), "image", A)
    assert all(len(key) == 64 for key in keys)


def test_what_the_cache_holds_stands_for_the_medium() -> None:
    once, tensor = Once(), torch.ones(1)
    assert once.known("k", "image") is None
    once.use(Cache(image_k=tensor))  # type: ignore[arg-type]
    known = once.known("k", "image")
    assert known is not None
    assert (known.key, known.medium) == ("k", None)
    assert known.prepared is tensor
    assert once.known("k", "audio") is None
    assert once.known("other", "image") is None
    once.use(None)
    assert once.known("k", "image") is None


async def test_those_who_ask_at_the_same_time_share_one_decoding() -> None:
    once, count, go = Once(), 0, asyncio.Event()

    async def decode() -> Image.Image:
        nonlocal count
        count += 1
        await go.wait()
        return picture()

    asking = [asyncio.create_task(once.decoded("k", decode)) for _ in range(5)]
    other = asyncio.create_task(once.decoded("other", decode))
    await asyncio.sleep(0)
    go.set()
    got = await asyncio.gather(*asking)
    assert count == 2
    assert len({id(one.medium) for one in got}) == 1
    assert (await other).medium is not got[0].medium


async def test_what_is_decoded_is_known_as_long_as_somebody_uses_it() -> None:
    """Then it is in the cache, or the cache had no room for it."""
    once = Once()

    async def decode() -> Image.Image:
        return picture()

    got = await once.decoded("k", decode)
    known = once.known("k", "image")
    same = known is not None and known.medium is got.medium
    del got, known
    gc.collect()
    left = once.known("k", "image") is not None
    assert (same, left) == (True, False)


async def test_a_medium_that_cannot_be_decoded_is_so_for_all_and_is_tried_again_later() -> None:
    once, count = Once(), 0

    async def decode() -> Any:
        nonlocal count
        count += 1
        await asyncio.sleep(0.01)
        raise MediaError("broken")

    results = await asyncio.gather(*(once.decoded("k", decode) for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in results] == ["broken"] * 3
    assert count == 1
    with pytest.raises(MediaError):
        await once.decoded("k", decode)
    assert count == 2


async def test_who_gives_up_leaves_it_to_the_next() -> None:
    once, count = Once(), 0

    async def decode() -> Image.Image:
        nonlocal count
        count += 1
        if count == 1:
            await asyncio.sleep(60)
        if count == 2:
            raise RuntimeError("refused for its own sake")
        return picture()

    first, second, third = (asyncio.create_task(once.decoded("k", decode)) for _ in range(3))
    await asyncio.sleep(0.01)
    first.cancel()
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], RuntimeError)
    assert isinstance(results[2], Keyed)
    assert count == 3
    assert once._decoding == {}
