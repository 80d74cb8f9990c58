"""What OpenAI's clients rely on beyond answers: headers, limits of a request, counts, every form of a medium."""

import base64
import io
import json
import socket
from typing import Any

import httpx
import pytest
import soundfile

from tests.support.reference import Reference, audio, image, text, user
from tests.support.serving import BODY_TIMEOUT, MAX_BODY_BYTES, ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

MESSAGES = [user("Look: ", image(0), " and hear: ", audio(0), " Both?"), {"role": "assistant", "content": "Yes."}]
MESSAGES += [user(image(1), "and this?")]


def encoded(seed: int, form: str) -> str:
    """A sound as base64 of a file of another format."""
    buffer = io.BytesIO()
    # The very samples of the WAV file, so that a lossless format holds the same sound.
    samples, rate = soundfile.read(io.BytesIO(sound_bytes(seed)), dtype="int16")
    soundfile.write(buffer, samples, rate, format=form)
    return base64.b64encode(buffer.getvalue()).decode()


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/health", "/v1/chat/completions"])
def test_every_answer_carries_its_id(client: httpx.Client, path: str) -> None:
    for response in (client.get(path), client.post(path, json={}, headers={"x-request-id": "bad id"})):
        assert len(response.headers["x-request-id"]) == 32
        assert int(response.headers["openai-processing-ms"]) >= 0
    assert client.get(path, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_the_id_is_the_answer_s_too(server: ServerProcess, client: httpx.Client) -> None:
    body = {"model": "tiny", "messages": [user("a")], "max_tokens": 2}
    answer = client.post("/v1/chat/completions", json=body, headers={"x-request-id": "trace-7"})
    assert answer.json()["id"] == "chatcmpl-trace-7"
    with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
        stream.read()
        assert json.loads(stream.text.partition("data: ")[2].partition("\n")[0])["id"] == (
            f"chatcmpl-{stream.headers['x-request-id']}"
        )


def test_counting_without_generating(client: httpx.Client, server: ServerProcess, reference: Reference) -> None:
    counted = client.post("/v1/chat/completions/tokens", json={"model": "tiny", "messages": MESSAGES}).json()
    tokens = len(reference.ids(MESSAGES))
    assert counted == {
        "object": "chat.completion.tokens",
        "model": "tiny",
        "prompt_tokens": tokens,
        "prompt_tokens_details": {"text_tokens": tokens - 12, "image_tokens": 8, "audio_tokens": 4},
        "context_length": 1024,
        "max_completion_tokens": 1024 - tokens,
    }
    usage = server.chat(MESSAGES).json()["usage"]
    assert usage["prompt_tokens"] == tokens
    assert usage["prompt_tokens_details"].items() >= counted["prompt_tokens_details"].items()


def test_counting_leaves_media_for_the_request_that_follows(client: httpx.Client, server: ServerProcess) -> None:
    """What was only counted was never encoded, and must not look as if it had been."""
    messages = [user(image(700), audio(700))]
    for _ in range(2):
        assert client.post("/v1/chat/completions/tokens", json={"messages": messages}).status_code == 200
        assert server.chat(messages).status_code == 200


def test_counting_says_what_is_wrong(client: httpx.Client) -> None:
    path = "/v1/chat/completions/tokens"
    error = error_of(client.post(path, json={"model": "other", "messages": [user("a")]}), 404)
    assert error["code"] == "model_not_found"
    error = error_of(client.post(path, json={"messages": [user("a", image(data=b"no"))]}), 400)
    assert error["param"] == "messages[0].content[1]"
    error = error_of(client.post(path, json={"messages": [user("word " * 2000)]}), 400)
    assert error["code"] == "context_length_exceeded"


PICTURE = image(0)["image_url"]["url"]
SOUND = audio(0)["input_audio"]["data"]
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "image_url as a string": ({"type": "image_url", "image_url": PICTURE}, image(0)),
    "image_url with detail": ({"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}}, image(0)),
    "wrong declared type": (
        {"type": "image_url", "image_url": {"url": PICTURE.replace("image/png", "text/html")}},
        image(0),
    ),
    "input_image": ({"type": "input_image", "image_url": PICTURE}, image(0)),
    "file": ({"type": "file", "file": {"file_data": PICTURE, "filename": "a.wav"}}, image(0)),
    "file without a data URL": ({"type": "file", "file": {"file_data": SOUND}}, audio(0)),
    "audio_url": ({"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{SOUND}"}}, audio(0)),
    "wrong declared format": ({"type": "input_audio", "input_audio": {"data": SOUND, "format": "mp3"}}, audio(0)),
    "no declared format": ({"type": "input_audio", "input_audio": {"data": SOUND}}, audio(0)),
    "flac": ({"type": "input_audio", "input_audio": {"data": encoded(0, "FLAC"), "format": "wav"}}, audio(0)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_medium_means_the_same(server: ServerProcess, name: str) -> None:
    part, plain = FORMS[name]
    answers = [server.chat([user("a ", given, " b")], logprobs=True) for given in (part, plain)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    given, expected = (answer.json()["choices"][0] for answer in answers)
    assert given["message"] == expected["message"]
    logprobs = [[entry["logprob"] for entry in choice["logprobs"]["content"]] for choice in (given, expected)]
    assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-5)


@pytest.mark.parametrize("form", ["OGG", "MP3", "FLAC", "AIFF"])
def test_formats_of_sounds(server: ServerProcess, form: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": encoded(3, form), "format": form.lower()}}
    assert server.chat([user("a ", part)]).status_code == 200


def test_responses_read_the_prompt_of_a_chat(client: httpx.Client, server: ServerProcess) -> None:
    """Both interfaces give the same prompt and the same words."""
    content = [
        {"type": "input_text", "text": "Look: "},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_text", "text": " and hear: "},
        {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
        {"type": "input_file", "file_data": image(1)["image_url"]["url"]},
    ]
    body = {"model": "tiny", "input": [{"role": "user", "content": content}], "max_output_tokens": 8, "temperature": 0}
    response = client.post("/v1/responses", json=body).json()
    chat = server.chat([user("Look: ", image(0), " and hear: ", audio(0), image(1))]).json()
    assert response["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert response["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    details = response["usage"]["input_tokens_details"]
    assert (details["image_tokens"], details["audio_tokens"]) == (8, 4)


def test_tokens_of_a_conversation_with_a_file(client: httpx.Client) -> None:
    part = {"type": "file", "file": {"file_data": PICTURE}}
    ids = [
        client.post("/tokenize", json={"model": "tiny", "messages": [user("a ", given)]}).json()["tokens"]
        for given in (part, image(0))
    ]
    assert ids[0] == ids[1]


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
LENGTH = HEAD + b"content-length: "


def exchange(server: ServerProcess, request: bytes) -> bytes:
    """Everything the server answers to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=BODY_TIMEOUT + 20) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def test_a_declared_length_beyond_the_limit_is_refused_at_once(server: ServerProcess) -> None:
    answer = exchange(server, LENGTH + str(MAX_BODY_BYTES + 1).encode() + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"


def test_a_body_in_pieces_is_refused_when_it_passes_the_limit(server: ServerProcess) -> None:
    """No length is declared, and the end never comes."""
    count, rest = divmod(MAX_BODY_BYTES + 1, 65536)
    chunks = [b"%x\r\n%s\r\n" % (size, b" " * size) for size in [65536] * count + [rest]]
    answer = exchange(server, HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"".join(chunks))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_body_that_does_not_come(server: ServerProcess) -> None:
    answer = exchange(server, LENGTH + b'99\r\n\r\n{"model": ')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "timeout_error"


READ = ("/v1/chat/completions", "/v1/chat/completions/tokens", "/v1/completions", "/v1/responses", "/tokenize")


@pytest.mark.parametrize("path", [*READ, "/detokenize"])
def test_bodies_that_are_not_json(client: httpx.Client, path: str) -> None:
    error = error_of(client.post(path, content=b"{}", headers={"content-type": "text/plain"}), 415)
    assert error["code"] == "unsupported_media_type"
    error = error_of(client.post(path, content=b"{", headers={"content-type": "application/json"}), 400)
    assert error["code"] == "invalid_json"
    assert error_of(client.delete(path), 405)["code"] == "method_not_allowed"


def test_no_path_of_this_machine_is_shown(client: httpx.Client) -> None:
    assert "/" not in "".join(str(card["root"]) for card in client.get("/v1/models").json()["data"])
    assert picture_bytes(0)[:4] not in client.get("/v1/models").content


def test_text_parts_of_an_assistant_s_turn(server: ServerProcess) -> None:
    turn = {"role": "assistant", "content": [text("Yes."), {"type": "refusal", "refusal": "No."}]}
    assert server.chat([user("a"), turn, user("b")]).status_code == 200
