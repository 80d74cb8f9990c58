"""The routes that generate, and `/tokenize`: read and checked here, answered by vLLM's own handlers."""

from typing import Any

from fastapi import APIRouter, Request
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.api_router import create_completion
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.api_router import create_responses
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.tokenize.api_router import detokenize as vllm_detokenize
from vllm.entrypoints.serve.tokenize.api_router import tokenize as vllm_tokenize
from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeChatRequest, TokenizeCompletionRequest

from server.requests import read, validated

router = APIRouter()
MEDIA_PARTS = ("image_url", "audio_url")


@router.post("/v1/chat/completions")
async def chat_completions(raw: Request) -> Any:
    """An answer to a conversation, whole or as a stream."""
    return await create_chat_completion(validated(ChatCompletionRequest, await read(raw)), raw)


@router.post("/v1/completions")
async def completions(raw: Request) -> Any:
    """The continuation of a text."""
    return await create_completion(validated(CompletionRequest, await read(raw)), raw)


@router.post("/v1/responses")
async def responses(raw: Request) -> Any:
    """An answer in the form of the Responses API."""
    return await create_responses(responses_request(await read(raw)), raw)


@router.post("/tokenize")
async def tokenize(raw: Request) -> Any:
    """The token ids of a text or a conversation."""
    body = await read(raw)
    request = validated(TokenizeChatRequest if "messages" in body else TokenizeCompletionRequest, body)
    return await vllm_tokenize(request, raw)


@router.post("/detokenize")
async def detokenize(raw: Request) -> Any:
    """The text of token ids."""
    return await vllm_detokenize(validated(DetokenizeRequest, await read(raw)), raw)


def responses_request(body: dict[str, Any]) -> ResponsesRequest:
    """The engine's request object.

    Its class knows pictures only in one form and no sounds at all, the code behind it takes whatever a chat may hold.
    So the items are validated with a text in the place of every medium, and get their media back.

    Raises:
        RefusedError: the first thing that is wrong, with the path of the field.
    """
    items = body.get("input")
    held = {
        (index, field): item[field]
        for index, item in enumerate(items if isinstance(items, list) else ())
        for field in ("content", "output")
        if isinstance(item, dict) and isinstance(item.get(field), list) and any(map(_is_medium, item[field]))
    }
    if not held:
        return validated(ResponsesRequest, body)
    plain = list(items or ())
    for (index, field), parts in held.items():
        plain[index] = {**plain[index], field: [_as_text(part) if _is_medium(part) else part for part in parts]}
    request = validated(ResponsesRequest, {**body, "input": plain})
    for (index, field), parts in held.items():
        request.input[index] = {**plain[index], field: parts}
    return request


def _is_medium(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in MEDIA_PARTS


def _as_text(part: Any) -> dict[str, str]:
    return {"type": "input_text", "text": ""}
