"""Options that touch every row of the vocabulary must not stumble over media tokens, in any kind of prompt."""

from typing import Any

import httpx
import pytest

from tests.support.reference import Reference, audio, image, user
from tests.support.serving import ServerProcess

MESSAGES = [user("Compare ", image(0), image(1), audio(0))]
OPTIONS: dict[str, dict[str, Any]] = {
    "repetition penalty": {"repetition_penalty": 1.5},
    "presence and frequency penalty": {"presence_penalty": 1.5, "frequency_penalty": 1.5},
    "logit bias on a media token": {"logit_bias": {"320": 100, "321": 100}},
    "logit bias on a padding row": {"logit_bias": {"383": 100}},
    "prompt logprobs": {"prompt_logprobs": 5},
    "all of them": {"repetition_penalty": 1.2, "presence_penalty": 0.5, "prompt_logprobs": 2, "logit_bias": {"320": 5}},
    "top logprobs": {"logprobs": True, "top_logprobs": 20},
    "allowed: media only": {"allowed_token_ids": [320]},
    "allowed: media and text": {"allowed_token_ids": [320, 5]},
    "bad words": {"bad_words": ["<|image|>"]},
    "stop on a media token": {"stop_token_ids": [320]},
    "three answers": {"n": 3, "temperature": 1.0, "seed": 1},
    "at least": {"min_tokens": 8, "max_tokens": 12},
    "regular expression": {"structured_outputs": {"regex": "[ab]{3}"}},
    "JSON": {"response_format": {"type": "json_object"}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_option(server: ServerProcess, reference: Reference, name: str) -> None:
    response = server.chat(MESSAGES, return_token_ids=True, **OPTIONS[name])
    assert response.status_code == 200, response.text
    suppressed = set(reference.prompt.config.suppressed_token_ids)
    if name != "allowed: media only":
        for choice in response.json()["choices"]:
            assert not suppressed & set(choice["token_ids"])


@pytest.mark.parametrize("bias", ["384", "99999", "-1"])
def test_logit_bias_outside_the_vocabulary(server: ServerProcess, bias: str) -> None:
    response = server.chat(MESSAGES, logit_bias={bias: 1})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "logit_bias"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"prompt": "a <|image|> b <|audio|>", "prompt_logprobs": 2}, 200),
        ({"prompt": [1, 320, 321, 383, 5], "repetition_penalty": 1.3, "logprobs": 2, "echo": True}, 200),
        ({"prompt": [1, 384]}, 400),
        ({"prompt": [99999]}, 400),
        ({"prompt": [-1]}, 400),
        ({"prompt": []}, 400),
        ({"prompt": [5] * 2000}, 400),
    ],
)
def test_completion_prompts(client: httpx.Client, options: dict[str, Any], status: int) -> None:
    response = client.post("/v1/completions", json={"model": "tiny", "max_tokens": 4, "temperature": 0, **options})
    assert response.status_code == status, response.text
    if status == 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_unsure_options_are_refused(server: ServerProcess) -> None:
    """What a client must not be able to change: preprocessing, and the template that keeps media in place."""
    assert server.chat(MESSAGES, mm_processor_kwargs={"size": 4096}).status_code == 400
    assert server.chat(MESSAGES, chat_template="{{ messages }}").status_code == 400
