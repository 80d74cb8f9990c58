"""From the bytes of a request to the engine's own request object, with errors that name the field.

The engine's routes take a validated object; ours read the body themselves, bring the content parts into the engine's
form (`server.content`) and then let the engine's own classes validate.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from vllm.exceptions import VLLMValidationError

from server.content import normalise
from server.errors import ApiError, RefusedError, refuse
from server.exchange import current_exchange
from server.grammars import check_grammars

RequestClass = TypeVar("RequestClass", bound=BaseModel)
# Which field of a body holds what the model reads.
PROMPTS = ("messages", "input", "prompt", "tokens")
# Reasons of pydantic, in OpenAI's words.
_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "string_too_long": "string_above_max_length",
    "too_long": "array_above_max_length",
    "too_short": "array_below_min_length",
}
_FIELD = re.compile(r"[a-z_][a-z0-9_]*")
# How pydantic names the branches of a union of plain types.
_TYPES = frozenset(
    ("str", "int", "float", "bool", "bytes", "list", "tuple", "dict", "set", "none", "nullable", "union")
)


async def read(raw: Request) -> dict[str, Any]:
    """The body of a request as a mapping, its content parts checked and in the engine's form.

    Raises:
        RefusedError: not JSON (400, 415), or a part that cannot be read (400, with its path).
    """
    kind = raw.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refuse(415, "send the request as JSON, with content-type: application/json")
    try:
        body = json.loads(await raw.body(), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        reason = (
            error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply, not UTF-8 or a huge number"
        )
        raise refuse(400, f"the body is not JSON: {reason}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise refuse(400, "the body must be a JSON object", code="invalid_json")
    exchange = current_exchange()
    exchange.prompt_param = next((name for name in PROMPTS if name in body), None)
    if "messages" in body and not isinstance(body["messages"], list):
        wanted = 'messages must be a list of {"role": ..., "content": ...}'
        raise refuse(400, wanted, param="messages", code="invalid_type")
    check_grammars(body)
    if exchange.prompt_param in ("messages", "input"):
        exchange.parts = await normalise(body[exchange.prompt_param], exchange.prompt_param)
    for gate in exchange.gates:
        await gate(body)
    return body


def validated(cls: type[RequestClass], body: dict[str, Any]) -> RequestClass:
    """The engine's request object.

    Raises:
        RefusedError: the first thing that is wrong, with the path of the field.
    """
    try:
        return cls.model_validate(body)
    except ValidationError as error:
        raise RefusedError(_first(error)) from None
    except VLLMValidationError as error:
        raise refuse(400, str(error), param=error.parameter, code="invalid_value") from None
    except (AttributeError, IndexError, KeyError, TypeError):
        # The engine looks at some fields before their types are checked.
        raise RefusedError(_mistyped(cls, body)) from None


def _mistyped(cls: type[BaseModel], body: dict[str, Any]) -> ApiError:
    """What is wrong with a body that the engine's own checks stumbled over: the first field of a wrong type."""
    for name, field in cls.model_fields.items():
        if name not in body or field.annotation is None:
            continue
        try:
            TypeAdapter[Any](field.annotation).validate_python(body[name])
        except ValidationError as error:
            return _first(error, (name,))
    return ApiError(status=400, message="a field of the request has the wrong type", code="invalid_type")


def _first(error: ValidationError, inside: tuple[str, ...] = ()) -> ApiError:
    """The first of the deepest errors: where a field has several forms, the one that was meant got furthest."""
    detail = max(error.errors(include_url=False), key=lambda one: len(_steps(one["loc"])))
    cause = detail.get("ctx", {}).get("error")
    path = json_path((*inside, *detail["loc"]))
    reason = str(cause or detail["msg"])
    if path is not None and cause is None:
        reason = f"{path}: {reason[:1].lower()}{reason[1:]}"
    return ApiError(status=400, message=reason, param=path, code=_code(detail["type"], detail.get("input")))


def json_path(location: Sequence[int | str]) -> str | None:
    """`('messages', 0, 'SomeMessageParam', 'content')` -> `messages[0].content`."""
    path = ""
    for step in _steps(location):
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or None


def _steps(location: Sequence[int | str]) -> list[int | str]:
    """A location without pydantic's names for classes and branches."""
    return [
        step
        for step in location
        if isinstance(step, int) or (_FIELD.fullmatch(step) is not None and step not in _TYPES)
    ]


def _code(reason: str, value: Any) -> str:
    if reason in _CODES:
        return _CODES[reason]
    if reason.startswith(("greater_than", "less_than")):
        number = "decimal" if isinstance(value, float) else "integer"
        return f"{number}_{'below_min' if reason.startswith('greater') else 'above_max'}_value"
    return "invalid_type" if reason.endswith(("_type", "_parsing", "_from_float")) else "invalid_value"


def _finite(text: str) -> float:
    """A number; one beyond what a float holds would become infinity, which no sampling survives."""
    number = float(text)
    if not math.isfinite(number):
        raise json.JSONDecodeError("a number is too large", "", 0)
    return number


def _no_number(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is no number of JSON", name, 0)
