"""The official Python client against a running server: chat with media, stream with counts, responses, files, errors.

Usage: python openai_python.py <base URL> <picture as data URL> <sound as base64> [<key>]
"""

import base64
import sys

import openai
from refusal import refused


def main(url: str, picture: str, sound: str, key: str = "none") -> None:
    """Raise if anything is not as expected."""
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
    model = client.models.list().data[0].id
    content = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
    ]
    asked = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**asked)
    details = whole.usage.prompt_tokens_details
    assert (details.image_tokens, details.audio_tokens) == (4, 4)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    parts = [{"type": "input_text", "text": "Look: "}, {"type": "input_image", "image_url": picture, "detail": "auto"}]
    response = client.responses.create(
        model=model, max_output_tokens=8, temperature=0, input=[{"role": "user", "content": parts}]
    )
    assert response.usage.input_tokens_details.image_tokens == 4
    data = base64.b64decode(picture.partition(",")[2])
    file = client.files.create(file=("picture.png", data), purpose="vision")
    named = [content[0], {"type": "file", "file": {"file_id": file.id}}, content[2]]
    again = client.chat.completions.create(**{**asked, "messages": [{"role": "user", "content": named}]})
    assert again.choices[0].message.content == whole.choices[0].message.content
    assert client.files.content(file.id).content == data
    assert client.files.delete(file.id).deleted
    error = refused(lambda: client.chat.completions.create(**{**asked, "model": "other"}))
    assert (error.status_code, error.code) == (404, "model_not_found")
    print(f"openai-python {openai.__version__}: model {model}, {whole.usage.prompt_tokens} prompt tokens, all passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
