"""What clients use: the official package, streams, the terminal client, model list, metrics; and what is not there."""

import subprocess
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.support.reference import Reference, audio, image, user
from tests.support.serving import QUARTET, ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

MESSAGES = [user("Look: ", image(0), " and hear: ", audio(0), " What is it?")]


@pytest.fixture(scope="module")
def openai(server: ServerProcess) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_official_client(openai: OpenAI, reference: Reference) -> None:
    answer = openai.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=8, temperature=0)  # type: ignore[arg-type]
    expected = reference.answer(MESSAGES)
    decoded = reference.prompt.tokenizer.decode(expected.token_ids, skip_special_tokens=True)
    assert answer.choices[0].message.content == decoded
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(reference.ids(MESSAGES))


def test_stream_equals_the_whole_answer(openai: OpenAI) -> None:
    options = {"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "logprobs": True}
    whole = openai.chat.completions.create(**options)  # type: ignore[call-overload]
    chunks = list(openai.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))  # type: ignore[call-overload]
    pieces = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(piece.delta.content or "" for piece in pieces) == whole.choices[0].message.content
    assert pieces[-1].finish_reason == whole.choices[0].finish_reason
    logprobs = [entry.logprob for piece in pieces if piece.logprobs for entry in piece.logprobs.content]
    assert logprobs == pytest.approx([entry.logprob for entry in whole.choices[0].logprobs.content], abs=1e-5)
    assert chunks[-1].usage == whole.usage
    assert len(pieces) > 4


def test_client_raises_with_the_part(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError) as raised:
        openai.chat.completions.create(model="tiny", messages=[user("a", image(data=b"no"))])  # type: ignore[list-item]
    assert raised.value.param == "messages[0].content[1]"
    assert raised.value.code == "invalid_media"
    with pytest.raises(NotFoundError):
        openai.chat.completions.create(model="other", messages=[user("a")])  # type: ignore[list-item]


def test_models_health_metrics(client: httpx.Client, openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == ["tiny"]
    assert client.get("/health").status_code == 200
    assert "vllm:" in client.get("/metrics").text
    counted = client.post("/tokenize", json={"model": "tiny", "messages": MESSAGES}).json()
    assert counted["tokens"].count(320) == counted["tokens"].count(321) == 4


@pytest.mark.parametrize(
    "path",
    [
        "/scale_elastic_ep",
        "/is_scaling_elastic_ep",
        "/kv_event_sources",
        "/generative_scoring",
        "/invocations",
        "/ping",
        "/inference/v1/generate",
        "/v1/chat/completions/render",
        "/v1/load_lora_adapter",
        "/collective_rpc",
        "/docs",
        "/redoc",
        "/health/",
        "//health",
        "/v1/../invocations",
        "/v1/models/../../invocations",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_routes_that_do_not_exist(client: httpx.Client, path: str, method: str) -> None:
    # Whole, because a path that begins with // would else be read as the name of another host.
    response = client.request(method, str(client.base_url).rstrip("/") + path, json={})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("not_found_error", "not_found")


def test_wrong_method(client: httpx.Client) -> None:
    response = client.get("/v1/chat/completions")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_terminal_client(server: ServerProcess, openai: OpenAI, tmp_path: Path) -> None:
    """Two turns from a pipe, with two media in the first, say the same as two turns through the official client."""
    (tmp_path / "my cat.png").write_bytes(picture_bytes(0))
    (tmp_path / "call.wav").write_bytes(sound_bytes(0))
    lines = f'Look @"{tmp_path}/my cat.png" and @{tmp_path}/call.wav now\nAnd you?\n'
    done = subprocess.run(
        [str(QUARTET), "chat", "--url", f"{server.url}/v1", "--max-tokens", "8", "--system", "Be brief."],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    messages = [{"role": "system", "content": "Be brief."}]
    expected = ""
    for turn in (user("Look ", image(0), " and ", audio(0), " now"), user("And you?")):
        messages.append(turn)
        options = {"model": "tiny", "messages": messages, "max_tokens": 8, "temperature": 0, "stream": True}
        chunks = openai.chat.completions.create(**options)  # type: ignore[call-overload]
        answer = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        messages.append({"role": "assistant", "content": answer})
        expected += answer + "\n"
    assert done.stdout == expected


def test_terminal_client_says_what_is_wrong(server: ServerProcess, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    command = [str(QUARTET), "chat", "--url", f"{server.url}/v1"]
    done = subprocess.run(command, input=f"What is @{bad}\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "messages[0].content[1]: not a picture" in done.stderr
    assert "Traceback" not in done.stderr
