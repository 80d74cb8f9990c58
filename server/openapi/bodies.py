"""What requests hold: the engine's own classes, with the messages and content parts that this server takes.

They are described here and nowhere validated: `server.requests` and `server.content` read a request, and the engine's
classes check what those left of it.
"""

from typing import Any, Literal, NotRequired, TypeAlias

from openai.types.chat.chat_completion_content_part_image_param import ChatCompletionContentPartImageParam
from openai.types.chat.chat_completion_content_part_param import File
from openai.types.chat.chat_completion_content_part_text_param import ChatCompletionContentPartTextParam
from openai.types.chat.chat_completion_message_function_tool_call_param import (
    ChatCompletionMessageFunctionToolCallParam,
)
from openai.types.responses.function_tool_param import FunctionToolParam
from openai.types.responses.response_function_tool_call_param import ResponseFunctionToolCallParam
from openai.types.responses.response_input_file_param import ResponseInputFileParam
from openai.types.responses.response_input_image_param import ResponseInputImageParam
from openai.types.responses.response_input_text_param import ResponseInputTextParam
from openai.types.responses.tool_choice_function_param import ToolChoiceFunctionParam
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.tokenize.protocol import TokenizeChatRequest
from vllm.renderers.chat_utils import ChatCompletionContentPartAudioParam

from server.files.stored import Purpose


class SoundData(TypedDict):
    """A sound in base64."""

    data: str
    format: NotRequired[str]


class InputAudio(TypedDict):
    """A sound; what it is, its bytes say, whatever `format` says."""

    type: Literal["input_audio"]
    input_audio: SoundData


Part: TypeAlias = (
    ChatCompletionContentPartTextParam
    | ChatCompletionContentPartImageParam
    | InputAudio
    | ChatCompletionContentPartAudioParam
    | File
)
"""One content part of a chat, in any turn and any order."""


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: NotRequired[str | list[Part] | None]
    name: NotRequired[str]
    tool_calls: NotRequired[list[ChatCompletionMessageFunctionToolCallParam]]
    tool_call_id: NotRequired[str]


# Fields of the engine's that this server is not set up for: it answers 400.
REFUSED = ("chat_template", "media_io_kwargs", "mm_processor_kwargs", "prompt_embeds")


def _without_refused(schema: dict[str, Any]) -> None:
    for name in REFUSED:
        schema["properties"].pop(name, None)


_CONFIG = ConfigDict(json_schema_extra=_without_refused)


class ChatBody(ChatCompletionRequest):
    """The body of a chat completion."""

    model_config = _CONFIG
    messages: list[Message]


class CompletionBody(CompletionRequest):
    """A text, or its tokens, to be continued."""

    model_config = _CONFIG
    prompt: str | list[str] | list[int] | list[list[int]]


class TokenizeChatBody(TokenizeChatRequest):
    """A conversation to be tokenized."""

    model_config = _CONFIG
    messages: list[Message]


ResponsePart: TypeAlias = ResponseInputTextParam | ResponseInputImageParam | InputAudio | ResponseInputFileParam
"""One content part of an item of the Responses API."""


class ResponseMessage(TypedDict):
    """One turn."""

    type: NotRequired[Literal["message"]]
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[ResponsePart]


class FunctionOutput(TypedDict):
    """What a function that the model called gave back; it may hold media."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[ResponsePart]


class ResponsesBody(ResponsesRequest):
    """The body of a request of the Responses API."""

    model_config = _CONFIG
    input: str | list[ResponseMessage | ResponseFunctionToolCallParam | FunctionOutput]
    tools: list[FunctionToolParam] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | ToolChoiceFunctionParam = "auto"
    previous_input_messages: list[dict[str, Any]] | None = None


class UploadForm(BaseModel):
    """The form of an upload."""

    model_config = ConfigDict(title="Upload")

    file: bytes = Field(json_schema_extra={"format": "binary"})
    purpose: Purpose
    anchor: Literal["created_at"] | None = Field(default=None, alias="expires_after[anchor]")
    seconds: int | None = Field(default=None, alias="expires_after[seconds]", ge=3600, le=30 * 24 * 3600)
