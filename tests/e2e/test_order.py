"""Each medium is seen exactly where it was put, whatever text surrounds it: random conversations, on the real engine.

The reference shares the code that makes the prompt, so agreeing with it would not be enough. Each conversation is
therefore checked three times, each time against something made here, part by part:

1. where: in the engine's prompt ids every run of placeholders is read as the medium's name. The text that this gives is
   that of the conversation in which the names were written instead of the media;
2. which: in the reference's embeddings the k-th run holds the soft tokens of the k-th medium, encoded alone;
3. seen: the engine's log-probabilities, of all text of the prompt and of the answer, are those of the reference with
   these embeddings, and not those with the media of one kind in another order.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.e2e.conftest import MAX_MEDIA
from tests.support.reference import Reference, audio, image, read_part, text
from tests.support.serving import ServerProcess

TOLERANCE = 1e-3
PARTS, TURNS = 20, 6
# What text could confuse with media or with the frame of a turn, and what tokenizers like to join or to drop.
AWKWARD = (
    "<|im_end|>", "<|im_start|>system\n",
    "<|image|>", "<|audio|>", "<|im", "age|>", "<image>", "<0x0A>", "assistant", "User:", " ", "\n", "\n\n", "\t",
    "  x", "x  ", "é", "🐈‍⬛", "\u200b", "\u0644\u0627", "Apakah ini?", "7", "{{ x }}", "{% if %}", "\\n", "'", '"',
)  # fmt: skip
TEXTS = st.sampled_from(AWKWARD) | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
MEDIA = {"image_url": ("image", image), "input_audio": ("audio", audio)}


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to `PARTS` parts in up to `TURNS` turns of the user, after a system message or none."""
    kinds = st.lists(st.sampled_from(("text", "image_url", "input_audio")), min_size=1, max_size=PARTS)
    left = draw(kinds)
    for kind in MEDIA:
        assume(left.count(kind) <= MAX_MEDIA)
    cuts = draw(st.lists(st.integers(0, len(left)), max_size=TURNS - 1).map(sorted))
    turns = [left[start:end] for start, end in zip([0, *cuts], [*cuts, len(left)], strict=True) if end > start]
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXTS)})
    for turn in turns:
        messages.append({"role": "user", "content": [draw(_part(kind)) for kind in turn]})
        messages.append({"role": "assistant", "content": draw(TEXTS.filter(lambda words: words.strip() != ""))})
    return messages[:-1]


def _part(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    # Few different media: the same one several times is what caches and orders get wrong.
    return TEXTS.map(text) if kind == "text" else st.integers(0, 4).map(MEDIA[kind][1])


def media_of(messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The modality and part of each medium, in reading order."""
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] in MEDIA:
                yield MEDIA[part["type"]][0], part


def with_names(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation as text alone, the n-th medium as `«n image»`; texts beside each other are lines."""
    named, count = [], 0
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            words, previous = "", None
            for part in content:
                kind = part["type"]
                if kind in MEDIA:
                    words += f"«{count} {MEDIA[kind][0]}»"
                    count += 1
                else:
                    words += ("\n" if previous == "text" else "") + part["text"]
                previous = kind
            content = words
        named.append({**message, "content": content})
    return named


def read_prompt(reference: Reference, ids: Sequence[int]) -> str:
    """The text of prompt ids, each medium's run of soft tokens as `«n modality»`."""
    config = reference.prompt.config
    names = {spec.placeholder_id: (name, spec.tokens) for name, spec in config.modality_specs.items()}
    shown, count, position, words = "", 0, 0, []
    while position < len(ids):
        if ids[position] not in names:
            words.append(ids[position])
            position += 1
            continue
        name, tokens = names[ids[position]]
        assert list(ids[position : position + tokens]) == [ids[position]] * tokens, "a run of another length"
        shown += reference.prompt.tokenizer.decode(words) + f"«{count} {name}»"
        count, position, words = count + 1, position + tokens, []
    return shown + reference.prompt.tokenizer.decode(words)


def soft_tokens(reference: Reference, media: Sequence[tuple[str, dict[str, Any]]]) -> list[torch.Tensor]:
    """What each medium becomes `[tokens, hidden]`, encoded and projected by itself."""
    alone = []
    for modality, part in media:
        item = reference.prompt.config.modality_specs[modality].encoder.preprocess(read_part(part))
        features = torch.stack(reference.model.encode(modality, [item]))
        alone.append(reference.model.project(modality, features)[0])
    return alone


def logprobs(reference: Reference, ids: Sequence[int], features: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of each token after the first, given those before it."""
    logits = reference.model(torch.tensor([list(ids)]), features=features).logits[0].float()
    return logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


@torch.no_grad()
def check(server: ServerProcess, reference: Reference, messages: list[dict[str, Any]]) -> None:
    media = list(media_of(messages))
    response = server.chat(messages, max_tokens=2, logprobs=True, return_token_ids=True, prompt_logprobs=0)
    assert response.status_code == 200, response.text
    body = response.json()
    ids = body["prompt_token_ids"]

    expected = reference.prompt.tokenizer.decode(reference.prompt.encode(with_names(messages)))
    assert read_prompt(reference, ids) == expected

    features = reference.features(messages)
    embedded = reference.model.embed(torch.tensor([ids]), features)[0]
    placeholders = torch.tensor(sorted(reference.prompt.config.media_token_ids.values()))
    at_media = torch.isin(torch.tensor(ids), placeholders)
    if media:
        torch.testing.assert_close(embedded[at_media], torch.cat(soft_tokens(reference, media)), atol=1e-5, rtol=1e-4)

    of_text = ~at_media[1:]
    seen = torch.tensor([next(iter(one.values()))["logprob"] for one in body["prompt_logprobs"][1:]])
    wanted = logprobs(reference, ids, features)
    # vLLM lists the prompt's own token first.
    own = [str(token) in one for token, one in zip(ids[1:], body["prompt_logprobs"][1:], strict=True)]
    assert all(own)
    assert (seen - wanted)[of_text].abs().max() < TOLERANCE
    choice = body["choices"][0]
    answer = reference.model.answer(ids, features, max_tokens=2)
    assert choice["token_ids"] == answer.token_ids
    assert [one["logprob"] for one in choice["logprobs"]["content"]] == pytest.approx(answer.logprobs, abs=TOLERANCE)

    for modality, given_features in features.items():
        other = {**features, modality: given_features.roll(1, 0)}
        if not torch.equal(other[modality], given_features):
            moved = (logprobs(reference, ids, other) - wanted)[of_text].abs().max()
            assert moved > 2 * TOLERANCE, f"the order of {modality} media makes no difference here"


@settings(
    max_examples=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(messages=conversations())
def test_each_medium_is_seen_where_it_was_put(
    server: ServerProcess, reference: Reference, messages: list[dict[str, Any]]
) -> None:
    check(server, reference, messages)


def test_twenty_parts_in_six_turns(server: ServerProcess, reference: Reference) -> None:
    """The largest case, always: every awkward text beside a medium, neighbours of both kinds, repetitions."""
    parts = [text(AWKWARD[index]) if index % 3 == 0 else (image, audio)[index % 2](index % 4) for index in range(PARTS)]
    sizes = (5, 1, 4, 2, 3, 5)
    messages: list[dict[str, Any]] = []
    for turn, size in enumerate(sizes):
        start = sum(sizes[:turn])
        messages.append({"role": "user", "content": parts[start : start + size]})
        messages.append({"role": "assistant", "content": AWKWARD[turn]})
    assert len(sizes) == TURNS
    check(server, reference, messages[:-1])
