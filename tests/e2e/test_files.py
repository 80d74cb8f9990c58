"""Media that were uploaded, in chats and responses: the same answer as with their bytes."""

import base64
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.serving import MAX_BODY_BYTES, ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

NOTHING = "file-" + "0" * 44


@pytest.fixture(scope="module")
def openai_client(server: ServerProcess) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def upload(client: OpenAI, data: bytes, name: str) -> str:
    return client.files.create(file=(name, data), purpose="user_data").id


def chat(client: OpenAI, *parts: Any) -> tuple[str | None, int]:
    answer = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": list(parts)}], temperature=0, max_tokens=8
    )
    assert answer.usage is not None
    return answer.choices[0].message.content, answer.usage.prompt_tokens


def test_an_uploaded_medium_is_the_medium(openai_client: OpenAI) -> None:
    picture, sound = picture_bytes(40), sound_bytes(40)
    image, audio = upload(openai_client, picture, "a.png"), upload(openai_client, sound, "a.wav")
    text = {"type": "text", "text": " and "}
    data = base64.b64encode(sound).decode()
    inline = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}},
        text,
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
    ]
    expected = chat(openai_client, *inline)
    other = upload(openai_client, picture_bytes(41), "b.png")
    assert chat(openai_client, {"type": "image_url", "image_url": {"url": other}}, *inline[1:]) != expected
    for first, last in (
        ({"type": "image_url", "image_url": {"url": image}}, {"type": "audio_url", "audio_url": {"url": audio}}),
        ({"type": "file", "file": {"file_id": image}}, {"type": "file", "file": {"file_id": audio}}),
    ):
        assert chat(openai_client, first, text, last) == expected
    assert openai_client.files.content(image).content == picture


def test_responses_take_ids(openai_client: OpenAI) -> None:
    picture, sound = picture_bytes(42), sound_bytes(42)
    image, audio = upload(openai_client, picture, "a.png"), upload(openai_client, sound, "a.wav")

    def ask(*parts: Any) -> str:
        asked: Any = [{"role": "user", "content": list(parts)}]
        return openai_client.responses.create(model="tiny", input=asked, temperature=0, max_output_tokens=8).output_text

    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    sound_url = f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"
    expected = ask({"type": "input_image", "image_url": url}, {"type": "input_file", "file_data": sound_url})
    assert ask({"type": "input_image", "file_id": image}, {"type": "input_file", "file_id": audio}) == expected
    with pytest.raises(openai.BadRequestError) as refused:
        ask({"type": "input_text", "text": "a"}, {"type": "input_image", "file_id": NOTHING})
    assert (refused.value.code, refused.value.param) == ("file_not_found", "input[0].content[1]")


@pytest.mark.parametrize("form", ["image_url", "file"])
def test_a_file_that_is_not_there_is_named_by_its_place(openai_client: OpenAI, form: str) -> None:
    gone = upload(openai_client, picture_bytes(43), "a.png")
    openai_client.files.delete(gone)
    for name in (gone, NOTHING, "file-abc"):
        part = {"type": form, form: {"url" if form == "image_url" else "file_id": name}}
        with pytest.raises(openai.BadRequestError) as refused:
            chat(openai_client, {"type": "text", "text": "a"}, part)
        assert (refused.value.code, refused.value.param) == ("file_not_found", "messages[0].content[1]")
        assert "no file with this id" in str(refused.value)


def test_a_file_of_the_other_kind_is_named_by_its_place(openai_client: OpenAI) -> None:
    audio = upload(openai_client, sound_bytes(43), "a.png")
    with pytest.raises(openai.BadRequestError, match="not a picture") as refused:
        chat(openai_client, {"type": "image_url", "image_url": {"url": audio}})
    assert refused.value.param == "messages[0].content[0]"


def test_an_upload_beyond_the_body_s_limit(openai_client: OpenAI, client: httpx.Client) -> None:
    with pytest.raises((openai.APIStatusError, openai.APIConnectionError)) as refused:
        upload(openai_client, picture_bytes(0) + bytes(MAX_BODY_BYTES), "a.png")
    if isinstance(refused.value, openai.APIStatusError):
        assert refused.value.status_code == 413
    assert client.get("/v1/files").status_code == 200
