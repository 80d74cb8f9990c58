"""Recorded calls and answers, replayed with the official client.

In `golden/*.json`, `<picture 0>` and `<sound 0>` stand for media, `<int>`, `<text>`, `<id>` and others for anything of
that kind. An answer may hold more than is recorded (vLLM adds fields of its own), an error may not.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.serving import ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

FOLDER = Path(__file__).parent / "golden"
PATTERNS = {"<text>": r"(?s).+", "<string>": r"(?s).*", "<id>": r"[a-z]+[-_][A-Za-z0-9-]{16,}"}


def recorded(name: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in json.loads((FOLDER / name).read_text())]


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def with_media(value: Any) -> Any:
    """The arguments of a call, with media where they are named."""
    if isinstance(value, dict):
        return {key: with_media(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_media(item) for item in value]
    if isinstance(value, str) and (match := re.fullmatch(r"<(picture|sound) (\d+)>", value)):
        if match[1] == "sound":
            return base64.b64encode(sound_bytes(int(match[2]))).decode()
        return "data:image/png;base64," + base64.b64encode(picture_bytes(int(match[2]))).decode()
    return value


def call(client: OpenAI, case: dict[str, Any]) -> Any:
    """Make the recorded call; arguments the client does not know by name travel in the body all the same."""
    if case["call"] == "post":  # a route that OpenAI does not have
        return client.post(case["arguments"]["path"], body=with_media(case["arguments"]["body"]), cast_to=object)
    method: Any = client.with_raw_response
    for name in case["call"].split("."):
        method = getattr(method, name)
    arguments = with_media(case["arguments"])
    if case["call"].startswith("models"):
        return method(**arguments)
    # The client refuses to leave out what it thinks is required; the server must do so itself.
    required = {
        "chat.completions.create": ("model", "messages"),
        "completions.create": ("model", "prompt"),
        "embeddings.create": ("model", "input"),
    }
    known = {name: arguments.pop(name) for name in ("stream", *required.get(case["call"], ())) if name in arguments}
    return method(**known, extra_body=arguments)


def check(expected: Any, given: Any, where: str = "answer") -> None:
    """Compare what is recorded with what came."""
    if isinstance(expected, dict):
        assert isinstance(given, dict), where
        for key, value in expected.items():
            assert key in given, f"{where}.{key}"
            check(value, given[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(given, list), where
        assert len(given) == len(expected), where
        for index, (one, other) in enumerate(zip(expected, given, strict=True)):
            check(one, other, f"{where}[{index}]")
    elif expected == "<int>":
        assert isinstance(given, int), where
        assert given >= 0, where
    elif expected == "<number>":
        assert isinstance(given, int | float), where
    elif expected == "<list>":
        assert isinstance(given, list), where
    elif expected == "<JSON>":
        json.loads(given)
    elif expected in PATTERNS:
        assert isinstance(given, str), where
        assert re.fullmatch(PATTERNS[expected], given), f"{where}: {given!r}"
    else:
        assert given == expected, where


@pytest.mark.parametrize("case", recorded("errors.json"))
def test_errors(client: OpenAI, case: dict[str, Any]) -> None:
    with pytest.raises(getattr(openai, case["raises"])) as raised:
        call(client, case)
    error: Any = raised.value
    assert error.status_code == case["status"]
    body = json.loads(error.response.text)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    check(case["error"], body["error"])
    assert (error.code, error.param, error.type) == tuple(body["error"][key] for key in ("code", "param", "type"))
    assert error.request_id == error.response.headers["x-request-id"]


@pytest.mark.parametrize("case", recorded("answers.json"))
def test_answers(client: OpenAI, case: dict[str, Any]) -> None:
    answer = call(client, case)
    if case["call"] == "post":
        check(case["returns"], answer)
        return
    assert int(answer.headers["openai-processing-ms"]) >= 0
    if "returns" in case:
        check(case["returns"], json.loads(answer.text))
        assert answer.parse() is not None
        return
    chunks = [chunk.to_dict(exclude_unset=False, mode="json") for chunk in answer.parse()]
    check(case["streams"]["first"], chunks[0])
    check(case["streams"]["last"], chunks[-1])


def test_counts_have_the_client_s_own_names(client: OpenAI) -> None:
    content = [{"type": "image_url", "image_url": {"url": with_media("<picture 0>")}}]
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}], max_tokens=2)  # type: ignore[list-item,misc]
    assert answer.usage is not None
    details = answer.usage.prompt_tokens_details
    assert details is not None
    assert (details.image_tokens, details.audio_tokens) == (4, 0)
    assert details.text_tokens == answer.usage.prompt_tokens - 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
