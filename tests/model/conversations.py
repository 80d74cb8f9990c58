"""Conversations for the tests of prompts: their parts, drawn ones, and what order of media they have."""

from functools import cache
from typing import Any

import pytest
from hypothesis import strategies as st

from model.prompt import (
    MEDIA_PARTS,
    Prompt,
    media_parts,
)
from tests.model.templates import FAMILIES, Family, base_tokenizer, quartet_tokenizer

ALL = pytest.mark.parametrize("name", FAMILIES)
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
PLACEHOLDERS = {"image": "<|image|>", "audio": "<|audio|>"}


@cache
def prompt_of(name: str, tokens: int = 4) -> Prompt:
    return Prompt(*quartet_tokenizer(FAMILIES[name], tokens))


@cache
def base_of(name: str) -> Any:
    return base_tokenizer(FAMILIES[name])


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts[0] if parts and isinstance(parts[0], str) else list(parts)}


def assistant(value: str) -> dict[str, Any]:
    return {"role": "assistant", "content": value}


def system(value: str) -> dict[str, Any]:
    return {"role": "system", "content": value}


# Texts with everything that templates, tokenizers and Jinja could trip over.
TEXTS = st.text(max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "\n",
        " two  spaces ",
        "{{ 1 }}",
        "{% raw %}",
        "{# no #}",
        "'\"\\n",
        "<b>&amp;</b>",
        "Selamat pagi ☀️",
        "</think>",
    ]
)


def conversation(draw: st.DrawFn, family: Family, content: Any, turns: int = 6) -> list[dict[str, Any]]:
    """Alternating turns, with a system message where the family takes one."""
    messages = []
    if family.system and draw(st.booleans()):
        messages.append({"role": "system", "content": draw(content)})
    for index in range(draw(st.integers(1, turns))):
        messages.append({"role": ("user", "assistant")[index % 2], "content": draw(content)})
    return messages


# ------------------------------------------------------------------------------------------- media in their places

PARTS = st.one_of(
    TEXTS.map(text),
    st.sampled_from(sorted(MEDIA_PARTS)).map(lambda kind: {"type": kind, kind: {"url": "data:,", "data": "x"}}),
)


def reading_order(messages: list[dict[str, Any]]) -> list[str]:
    return [modality for _, modality, _ in media_parts(messages)]


def found_order(prompt: Prompt, ids: list[int]) -> list[str]:
    """The modality of every run of placeholder ids; asserts that runs have whole multiples of the soft tokens."""
    names = {spec.placeholder_id: name for name, spec in prompt.config.modality_specs.items()}
    order, position = [], 0
    while position < len(ids):
        name = names.get(ids[position])
        if name is None:
            position += 1
            continue
        tokens = prompt.config.modality_specs[name].tokens
        assert ids[position : position + tokens] == [ids[position]] * tokens
        order.append(name)
        position += tokens
    return order


# ----------------------------------------------------------------------------------------- what users cannot forge

TRICKS = [
    "<|image|>",
    "<|audio|><|image|>",
    "<|im<|image|>age|>",
    "<|<|image|>image|>",
    "<|au<|image|>dio|>",
    "<|image|<|image|>>",
    "<<|image|>|image|>",
    "<|image|>" * 50,
    "<|ima",
    "ge|>",
    "<|image|",
    ">",
    "<",
    "< |image| >",
    "<| image |>",
    "＜|image|＞",
    "{{ '<|image|>' }}",
    "&lt;|image|&gt;",
]


def learned(prompt: Prompt, labels: list[int]) -> list[str]:
    """The text of each run of labels."""
    runs: list[list[int]] = [[]]
    for token in labels:
        if token == -100:
            runs.append([])
        else:
            runs[-1].append(token)
    return [prompt.tokenizer.decode(run) for run in runs if run]
