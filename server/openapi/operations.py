"""Every route that `server.middleware.routes` lets through: what goes in and what comes out.

Statuses that any route may answer with, and those that only keys bring, are added by `server.openapi.document`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from vllm.entrypoints.serve.tokenize.protocol import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeCompletionRequest,
    TokenizeResponse,
)

from server.files.stored import PURPOSES
from server.openapi import answers, bodies
from server.routes.adapters import Load, Unload
from server.routes.files import MOST_LISTED
from server.settings import ServerSettings

JSON, EVENTS, FORM = "application/json", "text/event-stream", "multipart/form-data"
# What reading a body may end in, what the whole server may, and what a route behind the engine may.
_BODY = (400, 408, 413, 415, 503)
_GENERATES = (*_BODY, 404, 501)
_FILES = (404, 503)
# `open` is for everybody, with or without a key.
Needs = Literal["open", "user", "admin"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    """As in `server.middleware.routes.ROUTES`."""
    name: str
    """Unique; the name of a method in generated clients."""
    summary: str
    group: Literal["Generation", "Models", "Files", "Adapters", "Server"]
    body: Any = None
    """Type of the request's body."""
    form: bool = False
    """Whether the body is a form instead of JSON."""
    query: Mapping[str, Any] = field(default_factory=dict)
    """Types of optional parameters of the query, by name."""
    answer: Any = None
    """Type of a JSON answer with status 200."""
    streams: bool = False
    """Whether the answer may be a stream of events instead."""
    media_types: tuple[str, ...] = ()
    """Of an answer that is not JSON."""
    errors: tuple[int, ...] = ()
    """Statuses of errors."""
    needs: Needs = "user"
    """What a caller must have where keys are on; of the metrics, the settings say it."""


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/chat/completions",
        name="create_chat_completion",
        summary="Answer a conversation of texts, pictures and sounds.",
        group="Generation",
        body=bodies.ChatBody,
        answer=answers.Chat,
        streams=True,
        errors=_GENERATES,
    ),
    Operation(
        method="POST",
        path="/v1/chat/completions/tokens",
        name="count_chat_tokens",
        summary="What a conversation would cost, by modality, without an answer.",
        group="Generation",
        body=bodies.ChatBody,
        answer=answers.TokenCount,
        errors=_GENERATES,
    ),
    Operation(
        method="POST",
        path="/v1/completions",
        name="create_completion",
        summary="Continue a text.",
        group="Generation",
        body=bodies.CompletionBody,
        answer=answers.Completion,
        streams=True,
        errors=_GENERATES,
    ),
    Operation(
        method="POST",
        path="/v1/responses",
        name="create_response",
        summary="Answer in the form of the Responses API.",
        group="Generation",
        body=bodies.ResponsesBody,
        answer=answers.Response,
        streams=True,
        errors=_GENERATES,
    ),
    Operation(
        method="GET",
        path="/v1/responses/{id}",
        name="retrieve_response",
        summary="A response that was kept.",
        group="Generation",
        query={"starting_after": int, "stream": bool},
        answer=answers.Response,
        streams=True,
        errors=(400, 404),
    ),
    Operation(
        method="POST",
        path="/v1/responses/{id}/cancel",
        name="cancel_response",
        summary="End a response in the background.",
        group="Generation",
        answer=answers.Response,
        errors=(400, 404, 503),
    ),
    Operation(
        method="POST",
        path="/tokenize",
        name="tokenize",
        summary="The token ids of a text or a conversation.",
        group="Generation",
        body=bodies.TokenizeChatBody | TokenizeCompletionRequest,
        answer=TokenizeResponse,
        errors=_GENERATES,
    ),
    Operation(
        method="POST",
        path="/detokenize",
        name="detokenize",
        summary="The text of token ids.",
        group="Generation",
        body=DetokenizeRequest,
        answer=DetokenizeResponse,
        errors=_GENERATES,
    ),
    Operation(
        method="GET",
        path="/v1/models",
        name="list_models",
        summary="The models that a request may name, what they take, and what a medium costs.",
        group="Models",
        answer=answers.Models,
    ),
    Operation(
        method="GET",
        path="/v1/models/{model}",
        name="retrieve_model",
        summary="One of them.",
        group="Models",
        answer=answers.Model,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path="/v1/files",
        name="create_file",
        summary="Keep a picture or a sound, to be named by its id.",
        group="Files",
        body=bodies.UploadForm,
        form=True,
        answer=answers.FileObject,
        errors=(*_BODY, 403, 507),
    ),
    Operation(
        method="GET",
        path="/v1/files",
        name="list_files",
        summary="The files, the newest first.",
        group="Files",
        query={
            "purpose": Literal[PURPOSES],
            "limit": Annotated[int, Field(ge=1, le=MOST_LISTED)],
            "after": str,
            "order": Literal["asc", "desc"],
        },
        answer=answers.Files,
        errors=(400, *_FILES),
    ),
    Operation(
        method="GET",
        path="/v1/files/{id}",
        name="retrieve_file",
        summary="One of them.",
        group="Files",
        answer=answers.FileObject,
        errors=_FILES,
    ),
    Operation(
        method="GET",
        path="/v1/files/{id}/content",
        name="retrieve_file_content",
        summary="Its bytes.",
        group="Files",
        media_types=("application/octet-stream",),
        errors=_FILES,
    ),
    Operation(
        method="DELETE",
        path="/v1/files/{id}",
        name="delete_file",
        summary="Remove it.",
        group="Files",
        answer=answers.Deleted,
        errors=_FILES,
    ),
    Operation(
        method="POST",
        path="/v1/load_lora_adapter",
        name="load_adapter",
        summary="Serve an adapter as a model.",
        group="Adapters",
        body=Load,
        answer=answers.LoadedAdapter,
        errors=(*_BODY, 403, 501),
        needs="admin",
    ),
    Operation(
        method="POST",
        path="/v1/unload_lora_adapter",
        name="unload_adapter",
        summary="Serve it no more.",
        group="Adapters",
        body=Unload,
        answer=answers.Deleted,
        errors=(*_BODY, 403, 404, 501),
        needs="admin",
    ),
    Operation(
        method="GET",
        path="/health",
        name="health",
        summary="Whether the process lives.",
        group="Server",
        errors=(503,),
        needs="open",
    ),
    Operation(
        method="GET",
        path="/ready",
        name="ready",
        summary="Whether a conversation can be answered now.",
        group="Server",
        answer=answers.Ready,
        errors=(503,),
        needs="open",
    ),
    Operation(
        method="GET",
        path="/metrics",
        name="metrics",
        summary="Everything that is counted, for Prometheus.",
        group="Server",
        media_types=("text/plain",),
    ),
    Operation(
        method="GET",
        path="/version",
        name="version",
        summary="The engine's version.",
        group="Server",
        answer=answers.Version,
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document.",
        group="Server",
        answer=dict[str, Any],
    ),
    *(
        Operation(
            method=method,
            path="/",
            name=f"playground_{method.lower()}",
            summary="The playground.",
            group="Server",
            media_types=("text/html",),
            needs="open",
        )
        for method in ("GET", "HEAD")
    ),
)


def exposed(settings: ServerSettings) -> list[Operation]:
    """Those that a server with these settings answers."""
    shown = {"/": settings.playground}
    groups = {"Adapters": settings.hot_adapters, "Files": settings.files}
    return [one for one in OPERATIONS if shown.get(one.path, True) and groups.get(one.group, True)]
