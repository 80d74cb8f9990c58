"""Checked construction of small configuration dataclasses from outside mappings (JSON, YAML).

One definition of "unknown keys are errors that name the field and what is allowed", used by the model configuration,
the encoders, the projectors and the training recipes.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from model.errors import ConfigurationError

T = TypeVar("T")


def from_mapping(cls: type[T], values: object, *, where: str) -> T:
    """Build dataclass `cls` from `values`, refusing unknown and missing keys and wrongly typed scalars.

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
    unknown = sorted(set(values) - set(fields))
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
        _check_scalar(hints[name], value, f"{where}.{name}")
    try:
        return cls(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}.{error}") from None


def check_choice(name: str, value: object, choices: typing.Collection[str]) -> None:
    """Refuse `value` unless it is one of `choices`."""
    if value not in choices:
        raise ConfigurationError(f"{name}: {value!r} is not one of {', '.join(sorted(choices))}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse `value` outside `[low, high]`."""
    if not low <= value <= high:
        raise ConfigurationError(f"{name}: {value!r} is outside {low}..{high}")


def _check_scalar(hint: Any, value: object, where: str) -> None:
    """Refuse a scalar of the wrong type; containers are checked by the dataclass that holds them."""
    accepted = [arg for arg in typing.get_args(hint) or (hint,) if isinstance(arg, type)]
    scalars = [kind for kind in accepted if kind in (bool, int, float, str, type(None))]
    if not scalars or len(scalars) != len(accepted) or typing.get_origin(hint) in (list, dict, tuple, typing.Literal):
        return
    if float in scalars:
        scalars.append(int)
    # bool is an int in Python, but `tokens: true` is a mistake.
    if not isinstance(value, tuple(scalars)) or (isinstance(value, bool) and bool not in scalars):
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in scalars)
        raise ConfigurationError(f"{where}: expected {names}, got {value!r}")
