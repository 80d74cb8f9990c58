"""What a request will cost in tokens, before anything is computed; corrected by `server.limits.budget` afterwards."""

from collections.abc import Mapping
from typing import Any

# Of English text; other scripts need more tokens for as many characters.
CHARACTERS = 4
_LONGEST_ANSWER = ("max_completion_tokens", "max_output_tokens", "max_tokens")
# What holds a medium's bytes or address; media cost a few tokens each and are counted afterwards.
_NO_TEXT = frozenset(("url", "image_url", "audio_url", "file_id", "data", "file_data"))


def estimated_tokens(body: Mapping[str, Any], prompt: str | None) -> int:
    """Tokens of the prompt, by its characters, and of the longest answer that is asked for.

    Args:
        body: of a request.
        prompt: the field that holds what the model reads.
    """
    characters = tokens = 0
    waiting: list[Any] = [body.get(prompt)] if prompt else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, int):
            tokens += 1
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(content for name, content in value.items() if name not in _NO_TEXT)
    asked = next((body[name] for name in _LONGEST_ANSWER if isinstance(body.get(name), int)), 0)
    answers = body.get("n") if isinstance(body.get("n"), int) else 1
    return tokens + -(-characters // CHARACTERS) + max(asked, 0) * max(answers or 1, 1)
