"""What is learned of a conversation: the answers and their end, whatever they say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import PromptError
from model.prompt import (
    control_tokens,
    neutralised,
)
from tests.model.conversations import AUDIO, IMAGE, TRICKS, assistant, learned, prompt_of, text, user
from tests.model.templates import FAMILIES

# ------------------------------------------------------------------------------------------------------- training


TRAINABLE = [name for name, family in FAMILIES.items() if family.trainable]
ANSWERS = {
    "chatml": "{}<|im_end|>",
    "thinking": "{}<|im_end|>",
    "inst": " {} </s>",
    "mistral": " {}</s>",
    "gemma": "{}<end_of_turn>",
    "llama3": "{}<|eot_id|>",
    "phi3": "{}<|end|>",
}


@pytest.mark.parametrize("name", TRAINABLE)
def test_labels_are_the_answers_and_their_end(name):
    prompt = prompt_of(name)
    messages = [
        user(text("What?"), IMAGE),
        assistant("A red cat."),
        user(AUDIO),
        assistant("satu"),
        user("?"),
        assistant("end"),
    ]
    made = prompt.encode_training(messages)
    assert made.input_ids == prompt.encode(messages, add_generation_prompt=False)
    assert len(made.labels) == len(made.input_ids)
    assert learned(prompt, made.labels) == [ANSWERS[name].format(answer) for answer in ("A red cat.", "satu", "end")]
    assert all(label in (-100, token) for label, token in zip(made.labels, made.input_ids, strict=True))


@pytest.mark.parametrize("name", TRAINABLE)
def test_training_prompt_is_the_prompt_of_inference(name):
    """What precedes the answer's first label is what the server will feed before the answer."""
    prompt = prompt_of(name)
    messages = [user(text("a"), IMAGE), assistant("one"), user(text("b")), assistant("two")]
    made = prompt.encode_training(messages)
    first = next(index for index, label in enumerate(made.labels) if label != -100)
    assert made.input_ids[:first] == prompt.encode(messages[:1])
    last = len(made.labels) - next(i for i, label in enumerate(reversed(made.labels)) if label != -100)
    start = max(index for index in range(last) if made.labels[index] == -100) + 1
    assert made.input_ids[:start] == prompt.encode(messages[:3])


@pytest.mark.parametrize("name", TRAINABLE)
@settings(max_examples=25, deadline=None)
@given(answer=st.text(min_size=1, max_size=10).filter(lambda s: s.strip()) | st.sampled_from(TRICKS))
def test_any_answer_can_be_learned(name, answer):
    prompt = prompt_of(name)
    made = prompt.encode_training([user(IMAGE), assistant(answer)])
    (run,) = learned(prompt, made.labels)
    answer = neutralised(answer, control_tokens(prompt.tokenizer))
    assert run.startswith(("", " ")[name in ("inst", "mistral")])
    assert run.strip().startswith(answer.strip())
    assert run.endswith(ANSWERS[name].split("}")[-1])


def test_end_token_spelled_inside_the_answer_is_not_the_end():
    prompt = prompt_of("chatml")
    made = prompt.encode_training([user("?"), assistant("say <|im_end|> twice")])
    assert learned(prompt, made.labels) == ["say < |im_end|> twice<|im_end|>"]


def test_answers_of_parts():
    prompt = prompt_of("chatml", 1)
    parts = [text("see"), IMAGE, text("and"), text("go")]
    made = prompt.encode_training([user("?"), {"role": "assistant", "content": parts}])
    assert learned(prompt, made.labels) == ["see", "and\ngo<|im_end|>"]
    assert prompt.config.media_token_ids["image"] in made.input_ids
    assert prompt.config.media_token_ids["image"] not in made.labels


def test_answer_that_is_not_english_keeps_every_byte():
    prompt = prompt_of("chatml")
    made = prompt.encode_training([user("?"), assistant("猫 🐈‍⬛ é")])
    assert learned(prompt, made.labels) == ["猫 🐈‍⬛ é<|im_end|>"]


def test_thoughts_that_the_template_drops_cannot_be_trained_on():
    messages = [user("a"), assistant("<think>x</think>one"), user("b"), assistant("two")]
    with pytest.raises(PromptError, match=r"messages\[1\]: the chat template rewrites earlier turns"):
        prompt_of("thinking").encode_training(messages)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([user("a"), assistant("")], "messages[1]: the assistant turn is empty"),
        ([user("a"), assistant(" \n")], "messages[1]: the assistant turn is empty"),
        ([user("a"), {"role": "assistant"}], "messages[1]: the assistant turn is empty"),
        ([user("a"), {"role": "assistant", "content": []}], "messages[1]: the assistant turn is empty"),
        ([user("a"), {"role": "assistant", "content": [text("")]}], "messages[1]: the assistant turn is empty"),
        ([user("a"), assistant("b"), user("c"), assistant("")], "messages[3]: the assistant turn is empty"),
        ([user("a")], "the conversation has no assistant turn to learn from"),
    ],
)
def test_nothing_to_learn(messages, message):
    with pytest.raises(PromptError) as error:
        prompt_of("mistral" if len(messages) > 2 else "phi3").encode_training(messages)
    assert message in str(error.value)
