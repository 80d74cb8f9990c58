"""A medium is decoded, prepared and encoded once for each key: by the counters of a real server.

The server has keys, and keeps its files in OpenStack Swift where that is installed, which is stopped in the end.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from server.keys.file import add
from server.keys.key import Key, hashed
from tests.support.serving import ServerProcess
from tests.support.swift import MISSING, Swift, installed
from tests.support.tiny import picture_bytes, sound_bytes

ALICE, BOB = ("qk-" + letter * 43 for letter in "ab")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift | None]:
    running = Swift(tmp_path_factory.mktemp("swift")).start() if installed() else None
    yield running
    if running is not None:
        running.stop()


@pytest.fixture(scope="module")
def keyed(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, swift: Swift | None
) -> Iterator[ServerProcess]:
    """A server that asks for keys."""
    folder = tmp_path_factory.mktemp("keyed")
    for name, secret in (("alice", ALICE), ("bob", BOB)):
        add(folder / "keys.yaml", Key(name=name, hash=hashed(secret)))
    flags = ["--keys-file", str(folder / "keys.yaml"), "--metrics-access", "open", "--max-media", "10"]
    settings = swift.settings("served") if swift else {}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(f"QUARTET_{name.upper()}", value)
        running = ServerProcess.start(tiny_checkpoint, folder, *flags)
    yield running.wait()
    running.stop()


class Counters:
    """What the server has done since this was made or last asked."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._before = self._read()

    def __call__(self) -> dict[str, int]:
        now = self._read()
        done = {name: now[name] - self._before[name] for name in now}
        self._before = now
        return done

    def _read(self) -> dict[str, int]:
        text = httpx.get(f"{self._url}/metrics", timeout=60).text
        totals: dict[str, float] = {"decoded": 0, "known": 0, "encoded": 0, "asked": 0, "held": 0}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = {
                    "quartet_media_items_total": {"decoded": "decoded", "cached": "known"}.get(
                        sample.labels.get("outcome", "")
                    ),
                    "quartet_encoder_batch_size_sum": "encoded",
                    "vllm:mm_cache_queries_total": "asked",
                    "vllm:mm_cache_hits_total": "held",
                }.get(sample.name)
                if name:
                    totals[name] += sample.value
        return {name: round(total) for name, total in totals.items()}


def inline(data: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    if data.startswith(b"RIFF"):
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


def by_id(name: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_id": name}}


def client_of(server: ServerProcess, key: str) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def ask(client: OpenAI, *turns: Any) -> str | None:
    """A conversation of these turns, the model's own between them."""
    messages: list[Any] = []
    for turn in turns:
        if messages:
            messages.append({"role": "assistant", "content": "Yes."})
        messages.append({"role": "user", "content": turn if isinstance(turn, list) else [turn]})
    answer = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=4)
    return answer.choices[0].message.content


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_medium_is_decoded_and_encoded_once_for_each_key(keyed: ServerProcess) -> None:
    alice, bob = client_of(keyed, ALICE), client_of(keyed, BOB)
    picture, sound = inline(picture_bytes(70)), inline(sound_bytes(70))
    count = Counters(keyed.url)
    new = {"decoded": 2, "known": 0, "encoded": 2, "asked": 2, "held": 0}
    again = {"decoded": 0, "known": 2, "encoded": 0, "asked": 2, "held": 2}

    # The first time, and the same request again.
    first = ask(alice, [picture, text(" and "), sound])
    assert count() == new
    assert ask(alice, [picture, text(" and "), sound]) == first
    assert count() == again
    # In other requests and turns, and several times in one.
    ask(alice, [text("One: "), picture], [text("Two: "), sound])
    assert count() == again
    ask(alice, [picture, picture], [sound], [picture, sound])
    assert count() == {"decoded": 0, "known": 5, "encoded": 0, "asked": 5, "held": 5}
    # By id: neither by the upload nor by its use.
    names = [
        alice.files.create(file=(name, data), purpose="user_data").id
        for name, data in (("a.png", picture_bytes(70)), ("a.wav", sound_bytes(70)))
    ]
    assert ask(alice, [by_id(names[0]), text(" and "), by_id(names[1])]) == first
    assert count() == again
    # Counting, and the other routes.
    messages: Any = [{"role": "user", "content": [picture, sound]}]
    alice.post("/chat/completions/tokens", body={"model": "tiny", "messages": messages}, cast_to=object)
    asked: Any = [{"role": "user", "content": [{"type": "input_image", "file_id": names[0]}, by_id(names[1])]}]
    alice.responses.create(model="tiny", input=asked, max_output_tokens=4)
    assert count() == {"decoded": 0, "known": 4, "encoded": 0, "asked": 4, "held": 4}
    # Another key has its own, and cannot use the first one's.
    assert ask(bob, [picture, text(" and "), sound]) == first
    assert count() == new
    assert ask(bob, [picture, text(" and "), sound]) == first
    assert count() == again
    with pytest.raises(openai.BadRequestError) as refused:
        ask(bob, by_id(names[0]))
    assert (refused.value.code, refused.value.param) == ("file_not_found", "messages[0].content[0]")
    assert count()["decoded"] == 0


def test_a_new_medium_that_comes_many_times_at_once_is_decoded_once(keyed: ServerProcess) -> None:
    alice = client_of(keyed, ALICE)
    count = Counters(keyed.url)
    ask(alice, [inline(picture_bytes(71))] * 8)
    done = count()
    assert (done["decoded"], done["known"], done["encoded"]) == (1, 7, 1)


def test_a_client_s_uuid_names_nothing(keyed: ServerProcess) -> None:
    alice = client_of(keyed, ALICE)
    count = Counters(keyed.url)
    one, other = inline(picture_bytes(72)), inline(picture_bytes(73))
    expected = ask(alice, other)
    assert ask(alice, {**one, "uuid": "x"}) != expected
    assert ask(alice, {**other, "uuid": "x"}) == expected
    assert count()["encoded"] == 2


def test_a_key_s_prefixes_are_its_own(keyed: ServerProcess) -> None:
    """A long prompt that one key has sent is no faster for another one: nothing of it is cached for them."""
    words = [{"role": "user", "content": "Compare the two images. Which of them is red? " * 20}]

    def cached(key: str) -> int:
        answer = client_of(keyed, key).chat.completions.create(
            model="tiny",
            messages=words,  # type: ignore[arg-type]
            max_tokens=2,
        )
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        return answer.usage.prompt_tokens_details.cached_tokens or 0

    assert cached(ALICE) == 0
    assert cached(ALICE) >= 128
    assert cached(BOB) == 0
    assert cached(BOB) >= 128


def test_chats_without_files_go_on_while_the_bucket_is_gone(keyed: ServerProcess, swift: Swift | None) -> None:
    if swift is None:
        pytest.skip(MISSING)
    alice = client_of(keyed, ALICE)
    data = picture_bytes(74)
    name = alice.files.create(file=("a.png", data), purpose="vision").id
    expected = ask(alice, by_id(name))
    swift.stop()
    try:
        for call in (
            lambda: ask(alice, by_id(name)),
            lambda: alice.files.create(file=("a.png", data), purpose="vision"),
            lambda: alice.files.retrieve(name),
        ):
            with pytest.raises(openai.InternalServerError) as gone:
                call()
            assert (gone.value.status_code, gone.value.code) == (503, "storage_unavailable")
            assert gone.value.response.headers["retry-after"] == "1"
        assert ask(alice, inline(data)) == expected
        assert httpx.get(f"{keyed.url}/ready", timeout=30).status_code == 200
    finally:
        swift.start()
    assert ask(alice, by_id(name)) == expected
    assert alice.files.content(name).content == data
