"""Files in chats: read for their owner alone, and compared with what was uploaded."""

from pathlib import Path

import pytest

from model.errors import MediaError
from server import resolvers
from server.content import normalise
from server.errors import RefusedError
from server.exchange import Exchange, begin
from server.files.library import Library
from server.files.resolver import Files
from server.keys.key import Key, hashed
from server.resolvers import register_resolver
from tests.server.files.media import add, picture, sound


def as_key(name: str | None) -> None:
    key = Key(name=name, hash=hashed(name)) if name else None
    begin(Exchange(request_id="a", key=key))


@pytest.fixture
def files(on_disk: Library, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(resolvers, "_resolvers", dict(resolvers._resolvers))
    made = Files(on_disk)
    register_resolver("file-id", made)
    return made


async def test_a_file_is_read_for_its_owner(files: Files, on_disk: Library) -> None:
    file = await add(on_disk, sound(), "key.alice")
    url = f"file-id:{file.id}"
    as_key("alice")
    assert await files.modality(url) == "audio"
    assert await files.read(url) == sound()
    messages = []
    for name in ("bob", None):
        as_key(name)
        for what in (url, "file-id:file-" + "0" * 44, "file-id:../key.alice/files/" + file.id, "file-id:"):
            for use in (files.modality, files.read):
                with pytest.raises(MediaError) as refused:
                    await use(what)
                assert refused.value.code == "file_not_found"
                messages.append(str(refused.value))
    assert len(set(messages)) == 1


async def test_other_bytes_than_were_uploaded_are_not_answered(files: Files, on_disk: Library, tmp_path: Path) -> None:
    file = await add(on_disk, picture())
    as_key(None)
    (tmp_path / "store" / file.content).write_bytes(picture(1))
    with pytest.raises(MediaError, match="damaged in the store"):
        await files.read(f"file-id:{file.id}")
    (tmp_path / "store" / file.content).unlink()
    with pytest.raises(MediaError, match="no file with this id"):
        await files.read(f"file-id:{file.id}")


async def test_a_file_beyond_the_limit_of_media_is_not_read(
    files: Files, on_disk: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.settings import current

    file = await add(on_disk, picture() + bytes(1000))
    as_key(None)
    monkeypatch.setenv("QUARTET_MAX_MEDIA_BYTES", "1000")
    current.cache_clear()
    try:
        with pytest.raises(MediaError, match="at most 1000 are decoded"):
            await files.read(f"file-id:{file.id}")
    finally:
        monkeypatch.undo()
        current.cache_clear()


@pytest.mark.parametrize("kind", ["image_url", "file", "file in a file", "input_image", "input_file"])
async def test_every_form_of_a_file_in_a_request(files: Files, on_disk: Library, kind: str) -> None:
    file = await add(on_disk, picture())
    as_key(None)
    part = {
        "image_url": {"type": "image_url", "image_url": {"url": file.id}},
        "file": {"type": "file", "file": {"file_id": file.id}},
        "file in a file": {"type": "file", "file_id": file.id},
        "input_image": {"type": "input_image", "file_id": file.id, "detail": "auto"},
        "input_file": {"type": "input_file", "file_id": file.id},
    }[kind]
    items = [{"role": "user", "content": [part]}]
    (read,) = await normalise(items, "messages")
    assert (read.modality, read.url) == ("image", f"file-id:{file.id}")
    assert items[0]["content"] == [{"type": "image_url", "image_url": {"url": f"file-id:{file.id}"}}]


@pytest.mark.parametrize("name", ["nothing", "https://example.org/a", "data:image/png;base64,AA", "file-id:x", ""])
async def test_an_id_is_never_an_address(files: Files, name: str) -> None:
    as_key(None)
    part = {"type": "file", "file": {"file_id": name}}
    with pytest.raises(RefusedError) as refused:
        await normalise([{"role": "user", "content": ["a", part]}], "messages")
    error = refused.value.error
    assert (error.status, error.code, error.param) == (400, "file_not_found", "messages[0].content[1]")
