"""The OpenAPI document of a server as it is set up: what it exposes, and what a caller needs."""

import http
import importlib.metadata
import re
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from server.keys.middleware import METRICS
from server.openapi import answers
from server.openapi.operations import EVENTS, FORM, JSON, Needs, Operation, exposed
from server.settings import ServerSettings

VERSION = "3.1.0"
_REF = "#/components/schemas/{model}"
_SECONDS = {"schema": {"type": "integer", "minimum": 0}}
_HEADERS = {
    "x-request-id": {"description": "The client's own, or a new one.", "schema": {"type": "string"}},
    "openai-processing-ms": {"description": "How long the answer took to begin, milliseconds.", **_SECONDS},
}
_RETRY = {
    "retry-after": {"description": "When to ask again, seconds from now.", **_SECONDS},
    "retry-after-ms": {"description": "The same in milliseconds.", **_SECONDS},
}
# As `server.errors.ApiError.headers` and the middleware of keys add them.
_ERROR_HEADERS: dict[int, dict[str, Any]] = {
    401: {"www-authenticate": {"schema": {"const": "Bearer"}}},
    429: _RETRY,
    503: _RETRY,
}
# The version of OpenAPI that most programs read has no word for a stream; this is what each of its events holds.
_EVENT = {
    "description": "Where `stream` is true: one event, which holds a piece of the answer as JSON, or `[DONE]`.",
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}
_SECURITY: list[dict[str, list[str]]] = [{"key": []}]


def document(settings: ServerSettings) -> dict[str, Any]:
    """The document, JSON by types."""
    keys = settings.keys_file is not None or settings.api_key is not None
    operations = exposed(settings)
    references, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _described(operation, references, _statuses(operation, settings, keys=keys))
        if keys and needs(operation, settings) != "open":
            described["security"] = _SECURITY
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    statuses = sorted({status for one in operations for status in _statuses(one, settings, keys=keys)})
    components: dict[str, Any] = {
        "schemas": schemas,
        "headers": _HEADERS,
        "responses": {str(status): _error(status, references[answers.Error, "serialization"]) for status in statuses},
    }
    if keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Quartet",
            "version": importlib.metadata.version("quartet"),
            "summary": f"OpenAI's API, with pictures and sounds, for the model {settings.served_name}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": components,
    }


References = dict[tuple[Any, JsonSchemaMode], dict[str, Any]]


def _schemas(operations: Iterable[Operation]) -> tuple[References, dict[str, Any]]:
    """Where the schema of each type is, and all those that are named."""
    wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
    for one in operations:
        for kind in (one.body, *one.query.values()):
            if kind is not None:
                wanted[kind, "validation"] = TypeAdapter(kind)
        if one.answer is not None:
            wanted[one.answer, "serialization"] = TypeAdapter(one.answer)
    wanted[answers.Error, "serialization"] = TypeAdapter(answers.Error)
    found, shared = TypeAdapter.json_schemas(
        [(key, key[1], adapter) for key, adapter in wanted.items()], ref_template=_REF
    )
    return {key: schema for (key, _), schema in found.items()}, shared.get("$defs", {})


def _described(operation: Operation, references: References, statuses: Iterable[int]) -> dict[str, Any]:
    """One operation."""
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    answer: dict[str, Any] = {"description": "The answer.", "headers": headers}
    if operation.answer is not None:
        answer["content"] = {JSON: {"schema": references[operation.answer, "serialization"]}}
    if operation.streams:
        answer["content"][EVENTS] = {"schema": _EVENT}
    for media_type in operation.media_types:
        answer.setdefault("content", {})[media_type] = {"schema": {"type": "string"}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.group],
        "responses": {"200": answer}
        | {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)},
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": references[kind, "validation"]}
        for name, kind in operation.query.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        schema = references[operation.body, "validation"]
        described["requestBody"] = {
            "required": True,
            "content": {FORM if operation.form else JSON: {"schema": schema}},
        }
    return described


def _statuses(operation: Operation, settings: ServerSettings, *, keys: bool) -> set[int]:
    """Statuses of all errors that an operation may be answered with."""
    statuses = {*operation.errors, 500}
    needed = needs(operation, settings)
    if keys and needed != "open":
        statuses.add(401)
        # A key may be for some models only.
        if needed == "admin" or operation.body is not None:
            statuses.add(403)
        if operation.method == "POST":
            statuses.add(429)
    return statuses


def needs(operation: Operation, settings: ServerSettings) -> Needs:
    """What a caller must have where keys are on."""
    return settings.metrics_access if operation.path == METRICS else operation.needs


def _error(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    """The answer of an error."""
    named: dict[str, Any] = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    return {
        "description": http.HTTPStatus(status).phrase,
        "headers": named | _ERROR_HEADERS.get(status, {}),
        "content": {JSON: {"schema": schema}},
    }
