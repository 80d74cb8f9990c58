"""From conversations to tokens: the language model's own text, one placeholder per medium, nothing a user can forge."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import PromptError
from model.prompt import (
    MEDIA_PARTS,
    PLAIN_TEMPLATE,
    Prompt,
    add_placeholders,
    media_parts,
)
from tests.model.conversations import (
    ALL,
    AUDIO,
    IMAGE,
    PARTS,
    PLACEHOLDERS,
    TEXTS,
    assistant,
    base_of,
    conversation,
    found_order,
    learned,
    prompt_of,
    reading_order,
    system,
    text,
    user,
)
from tests.model.templates import FAMILIES, Family, base_tokenizer, quartet_tokenizer
from tests.support.tiny import build_tokenizer

# ---------------------------------------------------------------------------------------------- text-only prompts


@ALL
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_text_only_prompt_is_the_language_models_own(name, data):
    messages = data.draw(st.composite(conversation)(FAMILIES[name], TEXTS))
    base, prompt = base_of(name), prompt_of(name)
    for generation in (True, False):
        expected = base.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
        assert prompt.render(messages, add_generation_prompt=generation) == expected
        ids = base.apply_chat_template(messages, add_generation_prompt=generation, return_dict=False)
        assert prompt.encode(messages, add_generation_prompt=generation) == ids
    as_parts = [{**message, "content": [text(message["content"])]} for message in messages]
    assert prompt.render(as_parts) == base.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_tools_and_tool_calls_are_untouched():
    family = FAMILIES["llama3"]
    base, (ours, _) = base_tokenizer(family), quartet_tokenizer(family)
    parameters = {"type": "object", "properties": {"city": {"type": "string", "description": "a <b>city</b>"}}}
    tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": parameters}}]
    messages = [
        system("be brief"),
        user("weather in Melaka?"),
        {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Melaka"}}}]},
        {"role": "tool", "name": "weather", "content": '{"sun": true}'},
    ]
    for given_tools in (tools, None):
        for generation in (True, False):
            options = {"tokenize": False, "add_generation_prompt": generation, "tools": given_tools}
            assert ours.apply_chat_template(messages, **options) == base.apply_chat_template(messages, **options)


def test_a_message_may_lack_content_or_have_none():
    template = "{% for m in messages %}{{ m.role }}:{{ m.content is defined }}:{{ m.content }};{% endfor %}"
    base, (ours, _) = base_tokenizer(Family(template)), quartet_tokenizer(Family(template))
    messages = [{"role": "user", "content": None}, {"role": "assistant"}, user("x")]
    assert ours.apply_chat_template(messages, tokenize=False) == base.apply_chat_template(messages, tokenize=False)


@pytest.mark.parametrize(
    "start", ["", " ", "  \n", "\n", "\n\n x", "{# c #}\n", "  {% set a = 1 %}", "{{- 'x' }}", "{%- set a = 1 %} y"]
)
def test_white_space_at_the_start_of_the_template_stays(start):
    template = start + "{% for m in messages %}{{ m.content }}{% endfor %}\n"
    base, (ours, _) = base_tokenizer(Family(template)), quartet_tokenizer(Family(template))
    messages = [user(" hello ")]
    assert ours.apply_chat_template(messages, tokenize=False) == base.apply_chat_template(messages, tokenize=False)


@ALL
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_medium_has_one_placeholder_in_reading_order(name, data):
    content = st.lists(PARTS, min_size=1, max_size=4) | TEXTS
    messages = data.draw(st.composite(conversation)(FAMILIES[name], content))
    prompt = prompt_of(name)
    expected = reading_order(messages)
    rendered = prompt.render(messages)
    if name == "awkward":
        # It writes the last message twice: the second copy is in capitals and holds no placeholder.
        assert sum(rendered.count(spelling) for spelling in PLACEHOLDERS.values()) == len(expected)
    elif name != "thinking":
        assert found_order(prompt, prompt.encode(messages)) == expected
    for message in messages:
        if isinstance(message["content"], str):
            continue
        # Nothing stands between a medium and its neighbours, and adjacent texts are apart by one line break.
        joined = ""
        previous = None
        for part in message["content"]:
            kind = "text" if part["type"] == "text" else MEDIA_PARTS[part["type"]]
            joined += "\n" if kind == previous == "text" else ""
            joined += part["text"] if kind == "text" else PLACEHOLDERS[kind]
            previous = kind
        if name != "thinking":
            assert joined.strip() in rendered


def test_twenty_media_in_six_turns():
    prompt = prompt_of("chatml")
    kinds = [("image", "audio")[(index * index // 3) % 2] for index in range(20)]
    messages = []
    for turn in range(6):
        chunk = kinds[turn * 20 // 6 : (turn + 1) * 20 // 6]
        parts = [part for kind in chunk for part in ({"type": f"{kind}_url"}, text(f"medium of turn {turn}"))]
        messages.append({"role": ("user", "assistant")[turn % 2], "content": parts})
    assert found_order(prompt, prompt.encode(messages)) == kinds


def test_exact_ids():
    prompt = prompt_of("chatml")
    tokenizer, image, audio = prompt.tokenizer, *prompt.config.media_token_ids.values()
    ids = prompt.encode([system("s"), user(text("a"), IMAGE, IMAGE, text("b"), text("c"), AUDIO)])
    pieces = ["<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na", [image] * 8, "b\nc", [audio] * 4]
    pieces.append("<|im_end|>\n<|im_start|>assistant\n")
    expected: list[int] = []
    for piece in pieces:
        expected += tokenizer(piece, add_special_tokens=False)["input_ids"] if isinstance(piece, str) else piece
    assert ids == expected


@pytest.mark.parametrize("tokens", [1, 3])
def test_number_of_soft_tokens(tokens):
    prompt = prompt_of("chatml", tokens)
    ids = prompt.encode([user(IMAGE, AUDIO, IMAGE)])
    assert found_order(prompt, ids) == ["image", "audio", "image"]
    assert len([token for token in ids if token in prompt.config.media_token_ids.values()]) == 3 * tokens


def test_begin_and_end_marks():
    tokenizer, config = quartet_tokenizer(FAMILIES["chatml"], begin="<sound 'x'>\n", end="</sound>")
    rendered = Prompt(tokenizer, config).render([user(text("a"), AUDIO, IMAGE, text("b"))])
    assert "user\na<sound 'x'>\n<|audio|></sound><|image|>b<|im_end|>" in rendered


# --------------------------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (
            [user(text("a"), {"type": "video_url"})],
            "messages[0].content[1]: unknown part type 'video_url'; known are text, ",
        ),
        ([system("s"), user({"type": None})], "messages[1].content[0]: unknown part type None"),
        ([user({"type": ["text"]})], "messages[0].content[0]: unknown part type ['text']"),
        ([user({})], "messages[0].content[0]: unknown part type None"),
        ([{"role": "user", "content": ["hello"]}], "messages[0].content[0]: unknown part type None"),
        ([{"role": "user", "content": 3}], "messages[0].content: expected a string or a list of parts, got int"),
        ([{"role": "user", "content": {"type": "text"}}], "messages[0].content: expected a string or a list of parts"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text: expected a string, got None"),
        (
            [{"role": "user", "content": [{"type": "text", "text": 3}]}],
            "messages[0].content[0].text: expected a string",
        ),
        ([{"content": "a"}], "messages[0]: expected a mapping with a role"),
        (["a"], "messages[0]: expected a mapping with a role"),
    ],
)
def test_refuses(messages, message):
    with pytest.raises(PromptError) as error:
        prompt_of("chatml").render(messages)
    assert message in str(error.value)


def test_template_refusals_are_prompt_errors():
    with pytest.raises(PromptError, match=r"the chat template refuses this conversation: .*alternate"):
        prompt_of("gemma").render([user("a"), user("b")])
    tokenizer, _ = quartet_tokenizer(FAMILIES["chatml"])
    with pytest.raises(Exception, match="unknown content part type: video"):
        tokenizer.apply_chat_template([user({"type": "video"})], tokenize=False)


def test_modality_that_the_model_does_not_have(shared):
    config = shared.config.__class__(
        text_config=shared.config.get_text_config().to_dict(),
        modalities={"image": shared.config.modalities["image"]},
        llm_vocab_size=320,
    )
    with pytest.raises(PromptError, match=r"messages\[0\].content\[1\]: this model has no audio input; it has image"):
        Prompt(shared.tokenizer(), config).render([user(IMAGE, AUDIO)])


def test_plain_template_for_models_without_one():
    prompt = Prompt(*quartet_tokenizer(Family(PLAIN_TEMPLATE)))
    messages = [user(text("Hi"), IMAGE), assistant("one"), user("?"), assistant("two")]
    assert prompt.render(messages[:1]) == "User: Hi<|image|><|im_end|>\nAssistant:"
    made = prompt.encode_training(messages)
    assert learned(prompt, made.labels) == [" one<|im_end|>", " two<|im_end|>"]
    first = next(index for index, label in enumerate(made.labels) if label != -100)
    assert made.input_ids[:first] == prompt.encode(messages[:1])


# --------------------------------------------------------------------------------------------------- surroundings


def test_placeholders_are_added_once():
    tokenizer = build_tokenizer()
    size = len(tokenizer)
    first = add_placeholders(tokenizer, ["<|image|>", "<|audio|>"])
    assert first == [size, size + 1]
    assert add_placeholders(tokenizer, ["<|image|>", "<|audio|>"]) == first
    assert add_placeholders(tokenizer, ["<|im_end|>"]) == [tokenizer.eos_token_id]
    assert tokenizer("a<|image|><|image|> b")["input_ids"].count(size) == 2
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(tokenizer.all_special_tokens)


@ALL
def test_the_engine_sees_that_the_template_takes_parts(name):
    """Otherwise vLLM would join the parts of a message itself, all media first."""
    hf = pytest.importorskip("vllm.renderers.hf")
    tokenizer, _ = quartet_tokenizer(FAMILIES[name])
    assert hf._detect_content_format(tokenizer.chat_template, default="string") == "openai"


def test_media_parts_paths():
    messages = [system("s"), user(text("a"), IMAGE), assistant("x"), user(AUDIO, IMAGE)]
    assert [(path, modality) for path, modality, _ in media_parts(messages)] == [
        ("messages[1].content[1]", "image"),
        ("messages[3].content[0]", "audio"),
        ("messages[3].content[1]", "image"),
    ]
    assert next(iter(media_parts(messages)))[2] is IMAGE
