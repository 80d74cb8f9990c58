"""Checked construction of small configuration dataclasses from outside mappings (JSON, YAML).

One definition of "unknown keys are errors that name the field and what is allowed", used by the model configuration,
the encoders, the projectors and the training recipes.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from model.errors import ConfigurationError

T = TypeVar("T")


def from_mapping(cls: type[T], values: object, *, where: str) -> T:
    """Build dataclass `cls` from `values`, refusing unknown and missing keys and values of the wrong type.

    Args:
        cls: a dataclass whose `__post_init__` checks ranges.
        values: the mapping to read; anything else is refused.
        where: the path of the mapping in its file (`modalities.image.projector`), used in messages.

    Raises:
        ConfigurationError: naming the path, the value and what is accepted.
    """
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where}: expected a mapping, got {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    unknown = sorted(map(str, set(values) - set(fields)))
    if unknown:
        raise ConfigurationError(f"{where}: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(fields))}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise ConfigurationError(f"{where}: missing key {missing[0]!r}")
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        if not _accepts(hints[name], value):
            raise ConfigurationError(f"{where}.{name}: expected {_name(hints[name])}, got {value!r}")
    try:
        return cls(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}.{error}") from None


def from_choice(classes: Mapping[str, type[T]], values: Mapping[str, Any], *, key: str, where: str) -> T:
    """Build the dataclass that `values[key]` names from the other values.

    Raises:
        ConfigurationError: no such class, an unknown key or an impossible value, naming its path.
    """
    rest = dict(values)
    name = rest.pop(key, None)
    if not isinstance(name, str) or name not in classes:
        raise ConfigurationError(f"{where}.{key}: {name!r} is not one of {', '.join(sorted(classes))}")
    return from_mapping(classes[name], rest, where=where)


def check_choice(name: str, value: object, choices: typing.Collection[str]) -> None:
    """Refuse `value` unless it is one of `choices`."""
    if value not in choices:
        raise ConfigurationError(f"{name}: {value!r} is not one of {', '.join(sorted(choices))}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse `value` outside `[low, high]`."""
    if not low <= value <= high:
        raise ConfigurationError(f"{name}: {value!r} is outside {low}..{high}")


def _accepts(hint: Any, value: object) -> bool:
    """Whether `value`, as read from JSON or YAML, fits the annotation; types that files cannot hold accept anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_accepts(argument, value) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    kind = origin or hint
    if kind in (list, tuple):
        return isinstance(value, list | tuple) and all(_accepts(arguments[0], item) for item in value if arguments)
    if kind is dict:
        return isinstance(value, Mapping) and all(_accepts(arguments[1], item) for item in value.values() if arguments)
    # bool is an int in Python, but `tokens: true` is a mistake.
    if isinstance(value, bool):
        return kind not in (int, float, str, types.NoneType)
    if kind in (bool, int, str, types.NoneType):
        return isinstance(value, kind)
    return isinstance(value, int | float) if kind is float else True


def _name(hint: Any) -> str:
    """The annotation in words of the file: `int or null`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_name, typing.get_args(hint)))
    if hint is types.NoneType:
        return "null"
    return str(hint.__name__ if isinstance(hint, type) else hint).replace("typing.", "")
