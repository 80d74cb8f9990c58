"""Media and requests made to hurt: each is answered as its table says, while a good client goes on beside them."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.e2e.hostile.media import PICTURES, SOUNDS
from tests.support.serving import ServerProcess

MESSAGES = [{"role": "user", "content": "a"}]


@dataclass
class Neighbour:
    """Asks the same over and over, and remembers what was not answered as the first time."""

    server: ServerProcess
    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.ended.wait(0.1):
            try:
                response = self.server.chat([{"role": "user", "content": "Say something."}])
                response.raise_for_status()
                self.answers.append(response.json()["choices"][0]["message"]["content"])
            except (httpx.HTTPError, KeyError, ValueError) as error:
                self.failures.append(repr(error))


@pytest.fixture(scope="module", autouse=True)
def neighbour(server: ServerProcess) -> Iterator[None]:
    client = Neighbour(server)
    thread = threading.Thread(target=client.run)
    thread.start()
    yield
    client.ended.set()
    thread.join(120)
    assert client.failures == []
    assert len(client.answers) > 1
    assert len(set(client.answers)) == 1


def checked(response: httpx.Response, status: int, code: str | None, param: str | None) -> None:
    assert response.status_code == status, response.text[:500]
    if status >= 400:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["code"], error["param"]) == (code, param), error
        assert len(response.content) < 2000


@pytest.mark.parametrize("name", [*PICTURES, *SOUNDS])
def test_media(server: ServerProcess, name: str) -> None:
    modality = "image" if name in PICTURES else "audio"
    make, status, code = (PICTURES | SOUNDS)[name]
    url = f"data:;base64,{base64.b64encode(make()).decode()}"
    part = {"type": f"{modality}_url", f"{modality}_url": {"url": url}}
    response = server.chat([{"role": "user", "content": [{"type": "text", "text": "a"}, part]}], max_tokens=1)
    checked(response, status, code, "messages[0].content[1]")


# name: (fields of the body, code, param); all are 400.
FIELDS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a billion answers": ({"n": 10**9}, "invalid_request", None),
    "no answers": ({"n": 0}, "invalid_request", None),
    "seed beyond 64 bits": ({"seed": 2**70}, "integer_above_max_value", "seed"),
    "negative temperature": ({"temperature": -1}, "invalid_value", "temperature"),
    "hot": ({"temperature": 1e30}, "invalid_value", "temperature"),
    "top_p of nothing": ({"top_p": 0}, "invalid_value", "top_p"),
    "top_k of -5": ({"top_k": -5}, "invalid_request", None),
    "penalty of a billion": ({"frequency_penalty": 1e9}, "invalid_request", None),
    "no repetition penalty": ({"repetition_penalty": 0}, "invalid_request", None),
    "-1 tokens": ({"max_tokens": -1}, "invalid_value", "max_tokens"),
    "a billion tokens": ({"max_tokens": 10**9}, "invalid_value", "max_tokens"),
    "a billion tokens at least": ({"min_tokens": 10**9}, "invalid_request", None),
    "bias of a token that is not there": ({"logit_bias": {"99999": 1}}, "invalid_value", "logit_bias"),
    "bias of token -1": ({"logit_bias": {"-1": 1}}, "invalid_value", "logit_bias"),
    "bias of a word": ({"logit_bias": {"a": 1}}, "invalid_value", "logit_bias"),
    "100,000 stops": ({"stop": [f"x{n}" for n in range(10**5)]}, "invalid_type", "stop"),
    "empty stop": ({"stop": [""]}, "invalid_request", None),
    "stop token -1": ({"stop_token_ids": [-1]}, "invalid_value", "stop_token_ids"),
    "allowed token a billion": ({"allowed_token_ids": [10**9]}, "invalid_value", "allowed_token_ids"),
    "a million log-probabilities": ({"logprobs": True, "top_logprobs": 10**6}, "invalid_value", "logprobs"),
    "priority of 10^30": ({"priority": 10**30}, "integer_above_max_value", "priority"),
    "100,000 choices": (
        {"structured_outputs": {"choice": [f"x{n}" for n in range(10**5)]}},
        "grammar_too_large",
        "structured_outputs",
    ),
    "a billion items": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {"type": "array", "minItems": 10**9}},
            }
        },
        "grammar_too_large",
        "response_format",
    ),
    "repetitions of repetitions": (
        {"structured_outputs": {"regex": "((a{1,1000}){1,1000}){1,1000}"}},
        "grammar_too_large",
        "structured_outputs",
    ),
    "5,000 messages": ({"messages": MESSAGES * 5000}, "too_many_parts", "messages"),
    "a million parts": (
        {"messages": [{"role": "user", "content": [""] * 10**6}]},
        "too_many_parts",
        "messages",
    ),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields(server: ServerProcess, name: str) -> None:
    fields, code, param = FIELDS[name]
    body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 1, **fields}
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    checked(response, 400, code, param)


_BODY = json.dumps({"model": "tiny", "messages": MESSAGES})[:-1].encode()
RAW = {
    "lists in lists": b'{"messages":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
    "objects without end": b'{"a":' * 10**5,
    "NaN": _BODY + b', "temperature": NaN}',
    "infinity": _BODY + b', "temperature": Infinity}',
    "a number that is infinity": _BODY + b', "logit_bias": {"5": 1e999}}',
    "a number of a million digits": _BODY + b', "seed": 1' + b"0" * 10**6 + b"}",
    "not UTF-8": _BODY.replace(b'"a"', b'"\xff\xfe"') + b"}",
    "not an object": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("name", RAW)
def test_bodies(server: ServerProcess, name: str) -> None:
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{server.url}/v1/chat/completions", content=RAW[name], headers=headers, timeout=60)
    checked(response, 400, "invalid_json", None)
