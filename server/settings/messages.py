"""What is wrong with a setting, in words that say what to write instead. A secret's value is never among them."""

import difflib
import math
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo


def explain(cls: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong: `port: 99999 is outside 1..65535`."""
    detail = error.errors(include_url=False)[0]
    name = str(detail["loc"][0]) if detail["loc"] else ""
    field = cls.model_fields.get(name)
    if field is None:
        return unknown(name, cls.model_fields)
    if is_secret(field):
        return f"{name}: the secret must be a string"
    value = repr(detail["input"])
    value = value if len(value) <= 80 else value[:77] + "..."
    # pydantic marks the words of our own validators.
    reason = str(detail["msg"]).removeprefix("Value error, ")
    if choices := _choices(field):
        return f"{name}: {value} is not one of {', '.join(choices)}"
    if detail["type"] in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"{name}: {detail['input']} is outside {bounds(field)}"
    if detail["type"] == "string_too_short":
        return f"{name}: must not be empty"
    return f"{name}: {value}: {reason[:1].lower()}{reason[1:]}"


def unknown(name: str, known: Iterable[str], where: str = "") -> str:
    """`prot: unknown setting; did you mean port?`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    return f"{where}{name}: unknown setting; {hint}"


def is_secret(field: FieldInfo) -> bool:
    """Whether a field's value may not be shown."""
    return any(part is SecretStr for part in _parts(field.annotation))


def accepted(field: FieldInfo) -> str:
    """What a field accepts, in a word for the help: `auto|cpu|gpu`, `1..65535`, `TEXT`."""
    if choices := _choices(field):
        return "|".join(choices)
    kinds = [part for part in _parts(field.annotation) if isinstance(part, type)]
    if int in kinds or float in kinds:
        return bounds(field) or ("INTEGER" if int in kinds else "NUMBER")
    if any(typing.get_origin(part) is dict for part in _parts(field.annotation)):
        return "NAME=VALUE,..."
    return "A,B,..." if any(typing.get_origin(part) is tuple for part in _parts(field.annotation)) else "TEXT"


def bounds(field: FieldInfo) -> str:
    """`1..65535`, or an empty string for a field without a range."""
    low, high = -math.inf, math.inf
    for constraint in [*field.metadata, *_parts(field.annotation)]:
        if isinstance(constraint, annotated_types.Ge | annotated_types.Gt):
            low = constraint.ge if isinstance(constraint, annotated_types.Ge) else constraint.gt  # type: ignore[assignment]
        if isinstance(constraint, annotated_types.Le):
            high = constraint.le  # type: ignore[assignment]
    return "" if math.isinf(low) and math.isinf(high) else f"{low}..{high}"


def _choices(field: FieldInfo) -> list[str]:
    return [
        str(value) for part in _parts(field.annotation) if typing.get_origin(part) is Literal for value in part.__args__
    ]


def _parts(annotation: Any) -> Iterator[Any]:
    """An annotation and everything inside it that is no list or mapping."""
    yield annotation
    if typing.get_origin(annotation) not in (None, Literal, tuple, dict):
        for argument in typing.get_args(annotation):
            if isinstance(argument, FieldInfo):
                yield from argument.metadata
            else:
                yield from _parts(argument)
