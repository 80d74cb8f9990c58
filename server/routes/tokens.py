"""`POST /v1/chat/completions/tokens`: what a conversation would cost, by modality, without generating."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse

from server.prompts import media_tokens, token_details
from server.requests import read, validated
from server.routes.models import check_model

router = APIRouter()
OBJECT = "chat.completion.tokens"


@router.post("/v1/chat/completions/tokens")
async def count(raw: Request) -> Any:
    """Takes the body of a chat completion; gives its prompt's tokens and what the context leaves for the answer."""
    request = validated(ChatCompletionRequest, await read(raw))
    state = raw.app.state
    if request.model:
        await check_model(request.model, raw)
    # vLLM's own cache for this has no part in the engine's; `server.media.once` lets both be the same.
    rendered = await state.online_renderer.render_chat(request, skip_mm_cache=True)
    if isinstance(rendered, ErrorResponse):
        return JSONResponse(rendered.model_dump(), status_code=rendered.error.code)
    _, (prompt,) = rendered
    tokens = len(prompt["prompt_token_ids"])
    context = state.vllm_config.model_config.max_model_len
    return {
        "object": OBJECT,
        "model": request.model or state.openai_serving_models.model_name(),
        "prompt_tokens": tokens,
        "prompt_tokens_details": token_details(tokens, media_tokens(prompt)),
        "context_length": context,
        "max_completion_tokens": max(context - tokens, 0),
    }
