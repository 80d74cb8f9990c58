"""The only place that knows how a conversation becomes tokens.

Messages have the form of the OpenAI chat API: `content` is a string or a list of parts. The chat template is made from
the language model's own: a prelude turns every list of parts into one string (exactly one placeholder per medium, in
place, nothing added around it) and hands over to the original text unchanged, so text-only output is the language
model's own, byte for byte. Training, the reference and the server all go through the template made here.

Whatever text spells a control token of the tokenizer, a placeholder among them, reaches the model as plain text, kept
apart by a space: no user, document or tool can end a turn, open another one, or take the place of a medium.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from transformers import AddedToken, PreTrainedTokenizerBase

from model.configuration import QuartetConfig
from model.errors import PromptError

TEXT_PARTS = ("text", "input_text", "output_text")
# Part types of the API -> modality. The engine has already reduced them to the bare modality name.
MEDIA_PARTS = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
}
IGNORE = -100
# Characters of a structure in which control tokens are parted: it is copied as often as it has items.
LONGEST_STRUCTURE = 32_768

# Adjacent text parts are joined by a line break, as the engine does for models without media. The last line ends with a
# line break and no dash: renderers trim exactly that one, and the white space the original template begins with stays.
_PRELUDE = """\
{%- macro quartet_text(text) -%}
{%- set plain = namespace(text=text) -%}
{%- for start, controls in CONTROLS if start in text -%}
{%- for control in controls -%}
{%- set plain.text = plain.text | replace(control, control[:1] ~ ' ' ~ control[1:]) -%}
{%- endfor -%}
{%- endfor -%}
{{- plain.text -}}
{%- endmacro -%}
{%- macro quartet_value(value, out) -%}
{%- if value is string -%}
{%- set out.value = quartet_text(value) -%}
{%- elif value is mapping -%}
{%- set made = namespace(all={}, value=none) -%}
{%- for key, item in value.items() -%}
{%- set none_ = quartet_value(item, made) -%}
{%- set made.all = dict(made.all, **{quartet_text(key): made.value}) -%}
{%- endfor -%}
{%- set out.value = made.all -%}
{%- elif value is iterable -%}
{%- set made = namespace(all=[], value=none) -%}
{%- for item in value -%}
{%- set none_ = quartet_value(item, made) -%}
{%- set made.all = made.all + [made.value] -%}
{%- endfor -%}
{%- set out.value = made.all -%}
{%- else -%}
{%- set out.value = value -%}
{%- endif -%}
{%- endmacro -%}
{%- macro quartet_structure(value, out) -%}
{%- set out.value = value -%}
{%- if value is iterable -%}
{%- set written = value | tojson -%}
{%- if quartet_text(written) != written -%}
{%- if written | length > LONGEST -%}
{{- raise_exception('control tokens are spelled in tools, tool calls or documents of more than LONGEST characters') -}}
{%- endif -%}
{%- set none_ = quartet_value(value, out) -%}
{%- endif -%}
{%- endif -%}
{%- endmacro -%}
{%- macro quartet_content(content) -%}
{%- if content is string -%}
{{- quartet_text(content) -}}
{%- else -%}
{%- set seen = namespace(text=false) -%}
{%- for part in content -%}
{%- if part['type'] in TEXT_PARTS and part['text'] is string -%}
{{- '\\n' if seen.text else '' -}}{{- quartet_text(part['text']) -}}{%- set seen.text = true -%}
MEDIA
{%- else -%}
{{- raise_exception('unknown content part type: ' ~ part['type']) -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set quartet = namespace(messages=[], value=none) -%}
{%- for message in messages -%}
{%- set quartet.message = dict(message) -%}
{%- for key, value in message.items() -%}
{%- if key != 'content' and value is string -%}
{%- set quartet.message = dict(quartet.message, **{key: quartet_text(value)}) -%}
{%- elif key != 'content' and value is iterable -%}
{%- set none_ = quartet_structure(value, quartet) -%}
{%- set quartet.message = dict(quartet.message, **{key: quartet.value}) -%}
{%- endif -%}
{%- endfor -%}
{%- if message['content'] is defined and message['content'] is not none -%}
{%- set quartet.message = dict(quartet.message, content=quartet_content(message['content'])) -%}
{%- endif -%}
{%- set quartet.messages = quartet.messages + [quartet.message] -%}
{%- endfor -%}
{%- set messages = quartet.messages -%}
{%- if tools is defined -%}
{%- set none_ = quartet_structure(tools, quartet) -%}
{%- set tools = quartet.value -%}
{%- endif -%}
{%- if documents is defined -%}
{%- set none_ = quartet_structure(documents, quartet) -%}
{%- set documents = quartet.value -%}
{%- endif %}
"""
_MEDIUM = """\
{%- elif part['type'] == NAME -%}
{{- MARKED -}}{%- set seen.text = false -%}
"""
# For language models that come without a template: plain turns, readable by any of them. The generation prompt does not
# end with the space: tokenizers join it to the answer's first word.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}{{ eos_token or '' }}"
    "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def quote(text: str) -> str:
    """A Jinja string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Spelling and id of every control token: what frames turns, ends them, or stands for a medium."""
    added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))


def neutralised(text: str, controls: Iterable[str]) -> str:
    """A text as the model gets it: spellings of control tokens are the same characters, kept apart by a space."""
    for _, group in _grouped(tuple(controls)):
        for control in group:
            text = text.replace(control, f"{control[:1]} {control[1:]}")
    return text


# Training and evaluation ask for every text of every message, of one tokenizer.
@lru_cache(maxsize=8)
def _grouped(controls: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """Control tokens by their first two characters, so that a text is looked through for few of them.

    One that overlaps itself is there as often as it takes to part all of a row of them. One character cannot be parted,
    and a control token that holds a space where another one is parted is of no language model.
    """
    groups: dict[str, list[str]] = {}
    for control in sorted(controls):
        if len(control) > 1:
            step = next(size for size in range(1, len(control) + 1) if control.startswith(control[size:]))
            groups.setdefault(control[:2], []).extend([control] * -(-len(control) // step))
    return sorted(groups.items())


def chat_template(base: str, config: QuartetConfig, controls: Iterable[str]) -> str:
    """The chat template of a Quartet model, from the language model's own template `base` and its control tokens."""
    specs = config.modality_specs
    media = "".join(
        _MEDIUM.replace("NAME", quote(name)).replace("MARKED", quote(s.fields.begin + s.placeholder + s.fields.end))
        for name, s in specs.items()
    )
    texts = "(" + ", ".join(quote(kind) for kind in TEXT_PARTS) + ")"
    groups = ", ".join(
        f"({quote(start)}, [{', '.join(map(quote, group))}])" for start, group in _grouped(tuple(controls))
    )
    prelude = _PRELUDE.replace("LONGEST", str(LONGEST_STRUCTURE)).replace("MEDIA\n", media).replace("TEXT_PARTS", texts)
    return prelude.replace("CONTROLS", f"[{groups}]") + base


def add_placeholders(tokenizer: PreTrainedTokenizerBase, placeholders: Sequence[str]) -> list[int]:
    """Add placeholder tokens (those not yet known) and return their ids, one each."""
    tokens = [AddedToken(text, special=True, normalized=False, lstrip=False, rstrip=False) for text in placeholders]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    return [int(tokenizer.convert_tokens_to_ids(text)) for text in placeholders]


def media_parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every media part in reading order: `(path, modality, part)`, the path as in `messages[0].content[1]`.

    Raises:
        PromptError: something that is no message, no part or no text where one should be, named by its path.
    """
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise PromptError(f"{where}: expected a mapping with a role, such as {{'role': 'user', 'content': ...}}")
        content = message.get("content")
        if isinstance(content, str) or content is None:
            continue
        if not isinstance(content, list | tuple):
            raise PromptError(f"{where}.content: expected a string or a list of parts, got {type(content).__name__}")
        for position, part in enumerate(content):
            path = f"{where}.content[{position}]"
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str) and kind in MEDIA_PARTS:
                yield path, MEDIA_PARTS[kind], part
            elif kind not in TEXT_PARTS:
                raise PromptError(
                    f"{path}: unknown part type {kind!r}; known are {', '.join((*TEXT_PARTS, *MEDIA_PARTS))}"
                )
            elif not isinstance(part.get("text"), str):
                raise PromptError(f"{path}.text: expected a string, got {part.get('text')!r}")


@dataclass(frozen=True)
class TrainingTokens:
    """One conversation for training: ids `[n]`, and labels `[n]` with -100 wherever nothing is to be learned."""

    input_ids: list[int]
    labels: list[int]


class Prompt:
    """Turns conversations into token ids for one tokenizer and one configuration."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: QuartetConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self._specs = config.modality_specs
        self._repeats = {spec.placeholder_id: spec.tokens for spec in self._specs.values()}

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> str:
        """The prompt text, one placeholder per medium.

        Raises:
            PromptError: unknown part type, or a conversation the language model's template refuses.
        """
        for path, modality, _ in media_parts(messages):
            if modality not in self._specs:
                raise PromptError(
                    f"{path}: this model has no {modality} input; it has {', '.join(self._specs) or 'none'}"
                )
        reduced = [
            dict(message, content=self._reduce(message["content"])) if "content" in message else message
            for message in messages
        ]
        try:
            text = self.tokenizer.apply_chat_template(
                reduced, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except Exception as error:
            raise PromptError(f"the chat template refuses this conversation: {error}") from None
        return str(text)

    def encode(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> list[int]:
        """Token ids with every placeholder repeated as often as its modality has soft tokens."""
        text = self.render(messages, add_generation_prompt=add_generation_prompt)
        return self.expand(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def expand(self, ids: Sequence[int]) -> list[int]:
        """Repeat each placeholder id."""
        return [token for token in ids for _ in range(self._repeats.get(token, 1))]

    def encode_training(self, messages: Sequence[Mapping[str, Any]]) -> TrainingTokens:
        """Ids and labels of a whole conversation; the loss is on assistant text and its end token only.

        Raises:
            PromptError: no assistant turn, an empty one, or a template whose past turns depend on later ones.
        """
        list(media_parts(messages))
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        empty = [index for index in answers if not any(self._texts(messages[index]))]
        if empty:
            raise PromptError(f"messages[{empty[0]}]: the assistant turn is empty")
        if not answers:
            raise PromptError("the conversation has no assistant turn to learn from")
        full = self.render(messages, add_generation_prompt=False)
        spans = [self._answer_span(full, messages, index) for index in answers]
        encoded = self.tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = []
        labels: list[int] = []
        for token, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            learn = any(low <= start < high for low, high in spans)
            repeats = self._repeats.get(token, 1)
            ids += [token] * repeats
            labels += [token if learn and token not in self._repeats else IGNORE] * repeats
        return TrainingTokens(ids, labels)

    def _answer_span(self, full: str, messages: Sequence[Mapping[str, Any]], index: int) -> tuple[int, int]:
        """Where the answer `messages[index]` stands in `full`: after the generation prompt, through its end token.

        What the template puts after the end token is not learned. Some templates close a conversation with a token
        that the next turn replaces, so what counts is what this turn shares with the whole conversation.
        """
        before = self.render(messages[:index])
        through = self.render(messages[: index + 1], add_generation_prompt=False)
        length = next((i for i, (a, b) in enumerate(zip(full, through, strict=False)) if a != b), len(through))
        shared = full[:length]
        position = len(before)
        for text in self._texts(messages[index]):
            found = shared.find(text, position)
            position = found + len(text)
            if found < 0 or not shared.startswith(before):
                raise PromptError(
                    f"messages[{index}]: the chat template rewrites earlier turns; it cannot be trained on"
                )
        ends = [shared.find(token, position) + len(token) for token in self._controls if token in shared[position:]]
        return len(before), min(ends, default=len(shared))

    def _texts(self, message: Mapping[str, Any]) -> list[str]:
        """The texts of a message as the chat template writes them, at most without their outer white space."""
        content = message.get("content")
        texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content or []]
        return [neutralised(text, self._controls).strip() for text in texts]

    @cached_property
    def _controls(self) -> tuple[str, ...]:
        """Spellings of the tokenizer's control tokens, one of which ends a turn."""
        return tuple(control for control in control_tokens(self.tokenizer) if control)

    @staticmethod
    def _reduce(content: Any) -> Any:
        """Parts as the template sees them: text, or the bare name of a modality."""
        if isinstance(content, str) or content is None:
            return content
        return [{"type": MEDIA_PARTS[part["type"]]} if part["type"] in MEDIA_PARTS else dict(part) for part in content]
