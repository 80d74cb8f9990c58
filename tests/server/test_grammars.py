"""Grammars that would keep the engine's compiler busy for ever, and those that people use."""

import json
from typing import Any

import pytest

from server.errors import RefusedError
from server.grammars import MAX_CHOICES, MAX_DEPTH, MAX_NODES, MAX_REPEAT, MAX_TEXT, check_grammars


def schema(value: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": value}}}


def structured(**values: Any) -> dict[str, Any]:
    return {"structured_outputs": values}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        value = {"type": "object", "properties": {"a": value}}
    return value


GOOD = [
    {},
    {"tools": None, "structured_outputs": None},
    schema({"type": "array", "items": {"type": "string", "maxLength": MAX_REPEAT}, "minItems": 1}),
    schema({"type": "object", "properties": {"minItems": {"type": "string"}, "pattern": {"type": "string"}}}),
    schema(nested(20)),
    structured(regex="[0-9]{1,1000}-[a-z]{3}"),
    structured(choice=["yes", "no"]),
    structured(json="no JSON at all"),
    structured(json=json.dumps({"type": "string", "maxLength": 5})),
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(5)}}]},
]
BAD = [
    (schema({"type": "array", "minItems": 10**9}), "minItems is at most"),
    (schema({"type": "string", "maxLength": 1e9}), "maxLength is at most"),
    (schema({"type": "string", "pattern": "(a{1,1000}){1,1000}"}), "multiply to at most"),
    (schema({"type": "string", "pattern": "a{1000000}"}), "repeats at most"),
    (schema({"enum": [str(n) for n in range(MAX_CHOICES + 1)]}), "enum has at most"),
    (schema(nested(MAX_DEPTH)), "levels"),
    (schema({"anyOf": [{"type": "string"}] * MAX_NODES}), "values"),
    (structured(regex="a{0,99999999999999999999}"), "repeats at most"),
    (structured(regex="a" * (MAX_TEXT + 1)), "characters"),
    (structured(grammar="root ::= a{1,100000}"), "repeats at most"),
    (structured(choice=["x"] * (MAX_CHOICES + 1)), "choice has at most"),
    (structured(choice=["x" * MAX_TEXT, "y"]), "characters"),
    (structured(json=json.dumps({"type": "array", "minItems": 10**9})), "minItems is at most"),
    (structured(json="[" * 10**6), "characters"),
    ({"tools": [{"function": {"parameters": {"minLength": 10**9}}}]}, "minLength is at most"),
    ({"text": {"format": {"type": "json_schema", "schema": {"minItems": 10**9}}}}, "minItems is at most"),
]


@pytest.mark.parametrize("body", GOOD)
def test_what_people_use(body: dict[str, Any]) -> None:
    check_grammars(body)


@pytest.mark.parametrize(("body", "words"), BAD)
def test_what_is_too_large(body: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError) as raised:
        check_grammars(body)
    error = raised.value.error
    assert (error.status, error.code, error.param) == (400, "grammar_too_large", next(iter(body)))
    assert words in error.message
