"""The server gives the prompt ids, greedy tokens and log-probabilities of the transformers reference.

Conversations chosen by hand; random ones, and where each medium stands in them, are in `test_order`.
"""

from typing import Any

import pytest

from tests.support.reference import Reference, audio, image, user
from tests.support.serving import ServerProcess

TOLERANCE = 1e-3
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "text only": [user("What do you see?")],
    "text in several turns": [
        {"role": "system", "content": "You answer in one word."},
        user("Hello, who are you?"),
        {"role": "assistant", "content": "A dog."},
        user("first ", "second"),
    ],
    "one image": [user("What is this? ", image(0))],
    "one sound": [user(audio(0), " what was that?")],
    "image and audio": [user("Does ", audio(1), " match ", image(1), "?")],
    "image, image, audio adjacent": [user("Compare ", image(0), image(1), audio(0))],
    "five media over three turns": [
        user("First ", image(0), " then ", audio(0)),
        {"role": "assistant", "content": "I see."},
        user(image(1)),
        {"role": "assistant", "content": "And?"},
        user("Now ", audio(1), image(2), " compare."),
    ],
    "media in a system message": [
        {"role": "system", "content": [{"type": "text", "text": "Reference: "}, image(3), audio(3)]},
        user("What was the reference?"),
    ],
    "sounds of different lengths and rates": [
        user(audio(0, seconds=0.05), audio(1, seconds=1.3, rate=44_100), audio(2, seconds=9.9, rate=8_000), "?")
    ],
    "the same picture twice": [user(image(4), " and ", image(4))],
    "literal placeholders": [user("What does <|image|> mean, and <|audio|>? Look: ", image(0))],
    "Malay and emoji": [user("Apakah ini? 🐈 ", image(5))],
}


def check(server: ServerProcess, reference: Reference, messages: list[dict[str, Any]]) -> None:
    response = server.chat(messages, logprobs=True, return_token_ids=True)
    assert response.status_code == 200, response.text
    body = response.json()
    choice = body["choices"][0]
    expected = reference.answer(messages)
    assert body["prompt_token_ids"] == reference.ids(messages)
    assert choice["token_ids"] == expected.token_ids
    given = [entry["logprob"] for entry in choice["logprobs"]["content"]]
    assert given == pytest.approx(expected.logprobs, abs=TOLERANCE)
    assert body["usage"]["prompt_tokens"] == len(reference.ids(messages))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(server: ServerProcess, reference: Reference, name: str) -> None:
    check(server, reference, CONVERSATIONS[name])


@pytest.mark.parametrize("make", [image, audio])
def test_swapping_two_media_changes_the_answer(server: ServerProcess, reference: Reference, make: Any) -> None:
    orders = ([make(0), make(1)], [make(1), make(0)])
    answers = []
    for first, second in orders:
        messages = [user("First ", first, " second ", second, " compare.")]
        check(server, reference, messages)
        body = server.chat(messages, logprobs=True, top_logprobs=5).json()
        answers.append([entry["logprob"] for entry in body["choices"][0]["logprobs"]["content"][0]["top_logprobs"]])
    assert max(abs(a - b) for a, b in zip(*answers, strict=True)) > 10 * TOLERANCE


def test_every_log_probability_of_the_prompt_is_the_references(server: ServerProcess, reference: Reference) -> None:
    import torch

    messages = CONVERSATIONS["image, image, audio adjacent"]
    body = server.chat(messages, prompt_logprobs=0).json()
    ids = reference.ids(messages)
    with torch.no_grad():
        logits = reference.model(torch.tensor([ids]), features=reference.features(messages)).logits[0].float()
    expected = logits.log_softmax(-1)
    media = set(reference.prompt.config.media_token_ids.values())
    for position, (token, entry) in enumerate(zip(ids[1:], body["prompt_logprobs"][1:], strict=True)):
        if token not in media:
            assert entry[str(token)]["logprob"] == pytest.approx(float(expected[position, token]), abs=TOLERANCE)


def test_literal_placeholder_takes_no_medium(server: ServerProcess, reference: Reference) -> None:
    """Text that spells a placeholder is ordinary text: the prompt holds four positions, where the picture is."""
    messages = CONVERSATIONS["literal placeholders"]
    ids = server.chat(messages, return_token_ids=True).json()["prompt_token_ids"]
    token = reference.prompt.config.media_token_ids["image"]
    positions = [index for index, id_ in enumerate(ids) if id_ == token]
    assert len(positions) == 4
    assert positions == list(range(positions[0], positions[0] + 4))
    assert reference.prompt.config.media_token_ids["audio"] not in ids


def test_concurrent_requests_do_not_mix(server: ServerProcess, reference: Reference) -> None:
    from concurrent.futures import ThreadPoolExecutor

    conversations = list(CONVERSATIONS.values()) * 2
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda m: server.chat(m, return_token_ids=True).json(), conversations))
    for messages, body in zip(conversations, bodies, strict=True):
        assert body["prompt_token_ids"] == reference.ids(messages)
        assert body["choices"][0]["token_ids"] == reference.answer(messages).token_ids
