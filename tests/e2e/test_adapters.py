"""LoRA adapters as models: one server with keys, where one adapter is of the settings and others come and go.

One adapter is computed at a time, and two are kept, so that requests of several push each other out all the time.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.keys.file import add
from server.keys.key import ADMIN, Key, hashed
from tests.support.adapters import greedy, train_adapter
from tests.support.reference import audio, image, user
from tests.support.serving import ServerProcess

TOKENS = 6
QUESTION = [user("What do you see in the first picture?")]
SEEING = [user("What is this? ", image(0))]
HEARING = [user("What is this? ", audio(0))]


@dataclass
class Adapted:
    """The server, and what its adapters are."""

    process: ServerProcess
    folder: Path
    merged: dict[str, Any]

    def post(self, path: str, body: dict[str, Any], key: str | None = "admin") -> httpx.Response:
        headers = {"authorization": f"Bearer {secret(key)}"} if key else {}
        return httpx.post(f"{self.process.url}/v1/{path}", json=body, headers=headers, timeout=120)

    def get(self, path: str, key: str = "admin") -> httpx.Response:
        headers = {"authorization": f"Bearer {secret(key)}"}
        return httpx.get(f"{self.process.url}/v1/{path}", headers=headers, timeout=120)

    def answer(self, model: str, messages: list[Any]) -> tuple[list[int], list[int], list[float]]:
        """The ids of prompt and answer, and the answer's log-probabilities."""
        options = {"temperature": 0, "max_tokens": TOKENS, "logprobs": True, "return_token_ids": True}
        response = self.post("chat/completions", {"model": model, "messages": messages, **options})
        assert response.status_code == 200, response.text
        body = response.json()
        assert body["model"] == model
        choice = body["choices"][0]
        return (
            body["prompt_token_ids"],
            choice["token_ids"],
            [entry["logprob"] for entry in choice["logprobs"]["content"]],
        )

    def load(self, name: str, path: str, key: str | None = "admin", **more: Any) -> httpx.Response:
        return self.post("load_lora_adapter", {"lora_name": name, "lora_path": path, **more}, key)


def secret(name: str) -> str:
    return f"{name}-0123456789-0123456789"


@pytest.fixture(scope="module")
def adapted(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapted]:
    folder = tmp_path_factory.mktemp("adapted")
    llm = tiny_checkpoint.parent / "llm"
    merged = {
        name: train_adapter(llm, folder / "loras" / name, seed=seed)
        for seed, name in enumerate(("static", "first", "second"), start=1)
    }
    keys = folder / "keys.yaml"
    add(keys, Key(name="admin", hash=hashed(secret("admin")), role=ADMIN))
    add(keys, Key(name="user", hash=hashed(secret("user")), models=("tiny", "first")))
    static = folder / "loras" / "static"
    process = ServerProcess.start(
        tiny_checkpoint,
        folder,
        *("--keys-file", str(keys), "--lora-modules", f"static={static}", "--default-mm-loras", "audio=static"),
        *("--lora-directory", str(folder / "loras"), "--max-loras", "1"),
    )
    yield Adapted(process.wait(), folder / "loras", merged)
    process.stop()


def check_merged(adapted: Adapted, name: str, adapter: str) -> None:
    ids, given, logprobs = adapted.answer(name, QUESTION)
    expected, values = greedy(adapted.merged[adapter], ids, TOKENS)
    assert given == expected
    assert logprobs == pytest.approx(values, abs=1e-4)


def test_an_adapter_of_the_settings(adapted: Adapted) -> None:
    cards = {card["id"]: card for card in adapted.get("models").json()["data"]}
    assert {name: card["parent"] for name, card in cards.items()} == {"tiny": None, "static": "tiny"}
    assert str(adapted.folder) not in str(cards)
    check_merged(adapted, "static", "static")
    assert adapted.answer("tiny", QUESTION)[1:] != adapted.answer("static", QUESTION)[1:]


def test_the_default_of_a_modality(adapted: Adapted) -> None:
    named, by_default = adapted.answer("static", HEARING), adapted.answer("tiny", HEARING)
    assert by_default[:2] == named[:2]
    assert by_default[2] == pytest.approx(named[2], abs=1e-5)
    # Pictures have no default here: the checkpoint's own adapter sees them.
    assert adapted.answer("tiny", SEEING)[2] != pytest.approx(adapted.answer("static", SEEING)[2], abs=1e-2)


def test_loading_is_for_admins(adapted: Adapted) -> None:
    assert adapted.load("first", "first", key=None).status_code == 401
    refused = adapted.load("first", "first", key="user")
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
    for path in ("../..", "/etc", "first/../../keys.yaml"):
        refused = adapted.load("first", path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_adapter")
    assert [card["id"] for card in adapted.get("models").json()["data"]] == ["tiny", "static"]


def test_adapters_come_and_go(adapted: Adapted) -> None:
    source = shutil.copytree(adapted.folder / "first", adapted.folder / "moving")
    loaded = adapted.load("first", "moving")
    assert loaded.status_code == 200, loaded.text
    assert loaded.json()["parent"] == "tiny"
    # Whatever happens to the files it came from.
    shutil.rmtree(source)
    check_merged(adapted, "first", "first")
    check_merged(adapted, "static", "static")
    adapted.answer("tiny", SEEING)
    check_merged(adapted, "first", "first")

    assert [card["id"] for card in adapted.get("models", "user").json()["data"]] == ["tiny", "first"]
    assert adapted.get("models/static", "user").status_code == 404
    forbidden = adapted.post("chat/completions", {"model": "static", "messages": QUESTION}, "user")
    assert (forbidden.status_code, forbidden.json()["error"]["param"]) == (403, "model")

    # Other weights under the same name: nothing of the old ones is left in the cache of prompts.
    assert adapted.load("first", "second").status_code == 400
    assert adapted.load("first", "second", load_inplace=True).status_code == 200
    check_merged(adapted, "first", "second")
    assert adapted.post("unload_lora_adapter", {"lora_name": "first"}).json()["deleted"] is True
    unknown = adapted.post("chat/completions", {"model": "first", "messages": QUESTION})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert adapted.load("first", "first").status_code == 200
    check_merged(adapted, "first", "first")


def test_adapters_side_by_side(adapted: Adapted) -> None:
    adapted.load("first", "first", load_inplace=True)
    adapted.load("second", "second", load_inplace=True)
    cases = [(model, messages) for model in ("tiny", "static", "first", "second") for messages in (QUESTION, SEEING)]
    alone = [adapted.answer(*case) for case in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        for _ in range(2):
            for one, other in zip(alone, pool.map(lambda case: adapted.answer(*case), cases), strict=True):
                assert one[:2] == other[:2]
                assert one[2] == pytest.approx(other[2], abs=1e-4)
    assert adapted.process.healthy(), adapted.process.tail()
