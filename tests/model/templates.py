"""Chat templates in the manner of well-known families of language models, and tokenizers that carry them."""

from dataclasses import dataclass

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from model.configuration import QuartetConfig
from model.prompt import add_placeholders, chat_template, control_tokens
from tests.support.tiny import LLMS, build_tokenizer


@dataclass(frozen=True)
class Family:
    """A chat template, the control tokens it writes, and what it takes."""

    template: str
    special: tuple[str, ...] = ()
    eos: str = "<|im_end|>"
    bos: str = "<|im_start|>"
    system: bool = True
    """Whether a system message is allowed."""
    tools: bool = False
    trainable: bool = True
    """Whether a past turn stays as it was when later ones follow."""


# ChatML that adds a system message when the conversation has none, as SmolLM2 and Qwen2.5 do.
CHATML_DEFAULT_SYSTEM = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named Tiny<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

# [INST] with the system message folded into the first user turn; no generation prompt of its own.
INST = """\
{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system_message = messages[0]['content'] %}
{% else %}
{% set loop_messages = messages %}
{% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if loop.index0 == 0 and system_message != false %}
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
{% else %}
{% set content = message['content'] %}
{% endif %}
{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}
{{ ' ' + content.strip() + ' ' + eos_token }}
{% endif %}
{% endfor %}"""

# The same brackets without a system message, in one line with dashes, answers closed without a space.
MISTRAL = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('Roles must alternate') -}}{%- endif -%}"
    "{%- if message['role'] == 'user' -%}{{- '[INST] ' + message['content'] + ' [/INST]' -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- ' ' + message['content'] + eos_token -}}"
    "{%- else -%}{{- raise_exception('Only user and assistant roles are supported!') -}}{%- endif -%}{%- endfor -%}"
)

# Turns with a renamed role, trimmed content, and no system role.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)

# Headers around roles, attribute access, a loop variable that is assigned, tools in the system turn.
LLAMA3 = """\
{{- bos_token }}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Tools:\\n" }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n'+ message.content | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' }}{{- call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>tool<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or (message.content is iterable and message.content is not string) %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# Closes the conversation with a token that a further turn replaces.
PHI3 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

# Begins with white space and a comment, has a macro of its own that reads the messages, namespaces, and reversed loops.
AWKWARD = """\

  {# turns #}  Chat of {{ messages | length }}
{%- macro last() -%}{{ messages[-1].content | upper }}{%- endmacro %}
{%- set state = namespace(users=0) %}
{%- for message in messages[::-1] %}{% if message.role == 'user' %}{% set state.users = state.users + 1 %}{% endif %}
{%- endfor %}
  {% if state.users > 1 %}
    many
  {% endif %}
{% for message in messages %}
<{{ message['role'] }}>{{ message.content }}</{{ message['role'] }}>
{% endfor %}
{{ last() }}
"""

# Drops what an assistant thought in all turns but the last.
THINKING = (
    "{%- for message in messages -%}{%- set content = message.content -%}"
    "{%- if message.role == 'assistant' and not loop.last and '</think>' in content -%}"
    "{%- set content = content.split('</think>')[-1] -%}{%- endif -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)

FAMILIES = {
    "chatml": Family(CHATML_DEFAULT_SYSTEM),
    "inst": Family(INST, ("<s>", "</s>"), eos="</s>", bos="<s>"),
    "mistral": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), eos="</s>", bos="<s>", system=False),
    "gemma": Family(
        GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), eos="<eos>", bos="<bos>", system=False
    ),
    "llama3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        eos="<|eot_id|>",
        bos="<|begin_of_text|>",
        tools=True,
    ),
    "phi3": Family(
        PHI3, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), eos="<|endoftext|>", bos="<|endoftext|>"
    ),
    "awkward": Family(AWKWARD, trainable=False),
    "thinking": Family(THINKING),
}


def base_tokenizer(family: Family) -> PreTrainedTokenizerBase:
    """A tokenizer with this template and its control tokens, as a language model comes with."""
    tokenizer = build_tokenizer()
    special = [AddedToken(text, special=True, normalized=False) for text in family.special]
    tokenizer.add_special_tokens({"extra_special_tokens": special})
    tokenizer.bos_token, tokenizer.eos_token = family.bos, family.eos
    tokenizer.chat_template = family.template
    return tokenizer


def quartet_config(tokenizer: PreTrainedTokenizerBase, tokens: int = 4, **marks: str) -> QuartetConfig:
    """A configuration for `tokenizer` with both modalities; adds the placeholders to it."""
    image, audio = add_placeholders(tokenizer, ["<|image|>", "<|audio|>"])
    text = {**LLMS["llama"].to_dict(), "vocab_size": 384}
    projector = {"type": "mlp", "tokens": tokens}
    image_entry = {"encoder": {"family": "efficientnet"}, "placeholder": "<|image|>", "placeholder_id": image}
    audio_entry = {"encoder": {"family": "whisper"}, "placeholder": "<|audio|>", "placeholder_id": audio, **marks}
    modalities = {"image": {**image_entry, "projector": projector}, "audio": {**audio_entry, "projector": projector}}
    return QuartetConfig(text_config=text, modalities=modalities, llm_vocab_size=320)


def quartet_tokenizer(family: Family, tokens: int = 4, **marks: str) -> tuple[PreTrainedTokenizerBase, QuartetConfig]:
    """The tokenizer of a Quartet model around that language model, and the configuration."""
    tokenizer = base_tokenizer(family)
    config = quartet_config(tokenizer, tokens, **marks)
    tokenizer.chat_template = chat_template(family.template, config, control_tokens(tokenizer))
    return tokenizer, config
