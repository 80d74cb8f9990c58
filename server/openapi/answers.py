"""What answers hold: the engine's own classes where they are its answers, with the token counts of this server."""

from typing import Any, Literal

from openai.types.responses.response_function_tool_call import ResponseFunctionToolCall
from openai.types.responses.response_output_message import ResponseOutputMessage
from openai.types.responses.response_reasoning_item import ResponseReasoningItem
from pydantic import BaseModel, ConfigDict, Field
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionResponse
from vllm.entrypoints.openai.completion.protocol import CompletionResponse
from vllm.entrypoints.openai.responses.protocol import InputTokensDetails, ResponsesResponse, ResponseUsage
from vllm.entrypoints.serve.engine.protocol import PromptTokenUsageInfo, UsageInfo

from server.files.stored import Purpose


class _Answer(BaseModel):
    """All its fields are always there, and there are no others."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ErrorContent(_Answer):
    """What was wrong."""

    message: str
    """What was wrong, and what to do."""
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "timeout_error",
        "rate_limit_error",
        "server_error",
    ]
    param: str | None
    """Path of the offending part of the request, such as `messages[0].content[1]`."""
    code: str
    """Machine-readable reason."""


class Error(_Answer):
    """Every answer with status 400 and above."""

    error: ErrorContent


class PromptDetails(PromptTokenUsageInfo):
    """What the prompt's tokens stand for."""

    text_tokens: int
    image_tokens: int = 0
    audio_tokens: int = 0
    cached_tokens: int


class Usage(UsageInfo):
    """Tokens of prompt and answer."""

    prompt_tokens_details: PromptDetails


class Chat(ChatCompletionResponse):
    """A whole answer to a conversation."""

    usage: Usage


class Completion(CompletionResponse):
    """A whole continuation of a text."""

    usage: Usage


class InputDetails(InputTokensDetails):
    """What the input's tokens stand for."""

    text_tokens: int
    image_tokens: int = 0
    audio_tokens: int = 0


class ResponsesUsage(ResponseUsage):
    """Tokens of input and output."""

    input_tokens_details: InputDetails


class Response(ResponsesResponse):
    """A whole answer of the Responses API."""

    output: list[ResponseOutputMessage | ResponseReasoningItem | ResponseFunctionToolCall]
    usage: ResponsesUsage | None = None
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    prompt: dict[str, Any] | None = None
    input_messages: list[dict[str, Any]] | None = None
    output_messages: list[dict[str, Any]] | None = None


class TokenCount(_Answer):
    """What a conversation would cost."""

    object: Literal["chat.completion.tokens"]
    model: str
    prompt_tokens: int = Field(ge=0)
    prompt_tokens_details: dict[str, int]
    """`text_tokens` and, for each kind of medium in it, `image_tokens` or `audio_tokens`."""
    context_length: int
    max_completion_tokens: int = Field(ge=0)
    """What the context leaves for the answer."""


class Architecture(_Answer):
    """What goes in and out."""

    input_modalities: list[str]
    output_modalities: list[str]


class Medium(_Answer):
    """What one medium costs and may be."""

    tokens: int
    max_items: int
    """In one conversation."""
    max_bytes: int
    """Of its file."""
    formats: list[str]
    max_pixels: int | None = None
    max_seconds: float | None = None
    max_channels: int | None = None


class Model(_Answer):
    """One model id."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    """The model itself, of an adapter that on which it stands."""
    parent: str | None
    context_length: int
    max_model_len: int
    architecture: Architecture
    media: dict[str, Medium]


class LoadedAdapter(Model):
    """The card of an adapter that was loaded."""

    sha256: str
    """Of its weights."""


class Models(_Answer):
    """Every model id that a request may name."""

    object: Literal["list"]
    data: list[Model]


class FileObject(_Answer):
    """One uploaded file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]


class Files(_Answer):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(_Answer):
    """What was removed."""

    id: str
    object: Literal["file", "model"]
    deleted: Literal[True]


class Ready(_Answer):
    """The server can answer a conversation now."""

    status: Literal["ready"]


class Version(_Answer):
    """The engine's version."""

    version: str
