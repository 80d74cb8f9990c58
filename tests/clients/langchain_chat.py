"""LangChain (`langchain-openai`) against a running server: chat with media, stream with counts, tools off, errors.

Usage: python langchain_chat.py <base URL> <picture as data URL> <sound as base64> [<key>]
"""

import importlib.metadata
import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from refusal import refused


def main(url: str, picture: str, sound: str, key: str = "none") -> None:
    """Raise if anything is not as expected."""
    model = openai.OpenAI(base_url=url, api_key=key).models.list().data[0].id
    chat = ChatOpenAI(
        base_url=url, api_key=key, model=model, temperature=0, max_tokens=8, max_retries=0, stream_usage=True
    )
    shown = HumanMessage(
        [
            {"type": "text", "text": "Look: "},
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}},
        ]
    )
    whole = chat.invoke([SystemMessage("Answer briefly."), shown])
    details = whole.response_metadata["token_usage"]["prompt_tokens_details"]
    assert (details["image_tokens"], details["audio_tokens"]) == (4, 4), details
    assert 0 < whole.usage_metadata["output_tokens"] <= 8

    pieces = list(chat.stream([SystemMessage("Answer briefly."), shown]))
    assert "".join(piece.text for piece in pieces) == whole.text
    merged = pieces[0]
    for piece in pieces[1:]:
        merged += piece
    assert merged.usage_metadata["input_tokens"] == whole.usage_metadata["input_tokens"]

    # LangChain's own form of a medium, and a second turn.
    mime, _, data = picture.removeprefix("data:").partition(";base64,")
    own = HumanMessage([{"type": "image", "base64": data, "mime_type": mime}, {"type": "text", "text": "And this?"}])
    second = chat.invoke([shown, AIMessage(whole.text), own])
    details = second.response_metadata["token_usage"]["prompt_tokens_details"]
    assert (details["image_tokens"], details["audio_tokens"]) == (8, 4), details

    answers = chat.batch([[HumanMessage(f"Number {number}?")] for number in range(4)])
    assert len(answers) == 4

    broken = HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
    error = refused(lambda: chat.invoke([broken]))
    assert (error.status_code, error.code, error.param) == (400, "invalid_media", "messages[0].content[0]"), error
    version = importlib.metadata.version("langchain-openai")
    print(
        f"langchain-openai {version}: model {model}, {whole.usage_metadata['input_tokens']} prompt tokens, all passed"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
