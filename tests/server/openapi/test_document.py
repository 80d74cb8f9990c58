"""The document says what the routes do: which there are, what they take and give, and who may ask."""

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

import jsonschema_rs
import pytest

from server.errors import CODES, ApiError
from server.middleware.routes import ADAPTER_ROUTES, ROUTES
from server.openapi.document import document
from server.openapi.operations import OPERATIONS
from server.settings import ServerSettings

KEY = "k" * 24
Described = dict[str, Any]


@cache
def made(**values: Any) -> Described:
    return document(ServerSettings(**values))


def operations(described: Described) -> dict[tuple[str, str], Described]:
    paths = described["paths"]
    return {(path, method.upper()): one for path, methods in paths.items() for method, one in methods.items()}


def valid(described: Described, name: str, value: Any) -> bool:
    """Whether a value is as the schema of this name says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(schema).is_valid(value)


def test_every_route_is_described_once() -> None:
    described = [(one.path, one.method) for one in OPERATIONS]
    assert sorted(described) == sorted((path, method) for path, methods in ROUTES.items() for method in methods)
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


def test_only_what_is_exposed_is_described(tmp_path: Any) -> None:
    everything = set(ROUTES)
    plain = set(made()["paths"])
    assert plain == everything - ADAPTER_ROUTES - {"/"}
    assert set(made(playground=True)["paths"]) == plain | {"/"}
    assert set(made(files=False)["paths"]) == {path for path in plain if not path.startswith("/v1/files")}
    assert set(made(lora_directory=str(tmp_path), api_key=KEY)["paths"]) == plain | ADAPTER_ROUTES


def test_it_is_sound() -> None:
    described = made(playground=True, api_key=KEY, lora_directory="a")
    text = json.dumps(described)
    used = set(re.findall(r'"\$ref": "#/components/(\w+/[\w.-]+)"', text))
    assert text.count('"$ref"') == len(re.findall(r'"\$ref": "#/components/\w+/[\w.-]+"', text))
    components = described["components"]
    assert used == {f"{kind}/{name}" for kind in ("schemas", "headers", "responses") for name in components[kind]}
    for schema in components["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
    assert described["openapi"] == "3.1.0"
    for (path, _), one in operations(described).items():
        in_path = [each["name"] for each in one.get("parameters", ()) if each["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)


def test_errors_have_the_shape_that_the_server_gives_them() -> None:
    described = made(api_key=KEY)
    for status in CODES:
        assert valid(described, "Error", json.loads(ApiError(status=status, message="a").body()))
    assert not valid(described, "Error", {"error": {"message": "a", "type": "server_error", "param": None, "code": 5}})
    assert not valid(described, "Error", {"detail": "a"})
    for status, answer in described["components"]["responses"].items():
        assert answer["description"] == HTTPStatus(int(status)).phrase
        assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
        sent = {name.decode() for name, _ in ApiError(status=int(status), message="").headers()} - {"content-type"}
        assert sent == set(answer["headers"]) - {"x-request-id", "openai-processing-ms", "www-authenticate"}


def test_without_keys_nobody_needs_one() -> None:
    described = made(playground=True)
    assert "securitySchemes" not in described["components"]
    for one in operations(described).values():
        assert "security" not in one
        assert not {"401", "429"} & set(one["responses"])


@pytest.mark.parametrize("access", ["open", "user", "admin"])
def test_with_keys_all_but_what_is_open_needs_one(access: str) -> None:
    described = made(playground=True, api_key=KEY, lora_directory="a", metrics_access=access)
    assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    free = {"/health", "/ready", "/"} | ({"/metrics"} if access == "open" else set())
    for (path, method), one in operations(described).items():
        assert one.get("security") == (None if path in free else [{"key": []}]), path
        assert ("401" in one["responses"]) == (path not in free)
        assert ("429" in one["responses"]) == (method == "POST")
    assert ("403" in described["paths"]["/metrics"]["get"]["responses"]) == (access == "admin")


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CHAT_PARTS = [
    {"type": "text", "text": "a"},
    IMAGE,
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "ogg"}},
    {"type": "audio_url", "audio_url": {"url": "data:;base64,AAAA"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "file", "file": {"file_data": "data:;base64,AAAA", "filename": "a.wav"}},
]
RESPONSES_PARTS = [
    {"type": "input_text", "text": "a"},
    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    {"type": "input_image", "file_id": "file-1", "detail": "low"},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
    {"type": "input_file", "file_url": "https://example.org/a.png"},
]
NO_PARTS = [{"type": "video_url", "video_url": {"url": "data:,"}}, {"type": "image_embeds", "image_embeds": "A"}, {}, 1]


@pytest.mark.parametrize("body", ["ChatBody", "TokenizeChatBody"])
def test_parts_of_a_chat(body: str) -> None:
    for parts in (*([part] for part in CHAT_PARTS), CHAT_PARTS, "a", None):
        for role in ("user", "assistant", "system"):
            assert valid(made(), body, {"messages": [{"role": role, "content": parts}]}), parts
    for part in NO_PARTS:
        assert not valid(made(), body, {"messages": [{"role": "user", "content": [part]}]}), part


def test_parts_of_the_responses_api() -> None:
    for part in RESPONSES_PARTS:
        assert valid(made(), "ResponsesBody", {"input": [{"role": "user", "content": [part]}]}), part
        output = {"type": "function_call_output", "call_id": "a", "output": [part]}
        assert valid(made(), "ResponsesBody", {"input": [output]}), part
    for part in [*NO_PARTS, IMAGE]:
        assert not valid(made(), "ResponsesBody", {"input": [{"role": "user", "content": [part]}]}), part


def test_options_of_the_engine_are_there_and_those_it_refuses_are_not() -> None:
    fields = made()["components"]["schemas"]["ChatBody"]["properties"]
    assert {"temperature", "seed", "tools", "structured_outputs", "cache_salt"} <= set(fields)
    assert not {"chat_template", "mm_processor_kwargs", "media_io_kwargs"} & set(fields)
