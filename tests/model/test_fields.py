"""Checked construction of configuration dataclasses: every refusal names path, value and what is accepted."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from model.errors import ConfigurationError
from model.fields import check_choice, check_range, from_mapping


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    size: int = 4
    rate: float = 0.5
    maybe: int | None = None
    groups: list[int] = field(default_factory=list)
    table: dict[str, float] | None = None
    kind: Literal["a", "b"] = "a"
    anything: Any = None

    def __post_init__(self) -> None:
        check_range("size", self.size, 1, 8)
        check_choice("name", self.name, ("x", "y"))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"size": 8, "rate": 1, "maybe": None, "groups": [1, 2], "table": {"a": 1}, "kind": "b", "anything": [{}]},
        {"maybe": 3, "groups": (1,), "table": None, "rate": 1.5},
    ],
)
def test_accepts(values):
    made = from_mapping(Example, {"name": "x", **values}, where="top")
    assert {key: getattr(made, key) for key in values} == values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 9}, "top.size: 9 is outside 1..8"),
        ({"size": float("nan")}, "top.size: expected int, got nan"),
        ({"size": True}, "top.size: expected int, got True"),
        ({"size": "4"}, "top.size: expected int, got '4'"),
        ({"size": None}, "top.size: expected int, got None"),
        ({"rate": "fast"}, "top.rate: expected float, got 'fast'"),
        ({"rate": False}, "top.rate: expected float, got False"),
        ({"maybe": 1.5}, "top.maybe: expected int or null, got 1.5"),
        ({"groups": 3}, "top.groups: expected list[int], got 3"),
        ({"groups": [1, "2"]}, "top.groups: expected list[int], got [1, '2']"),
        ({"groups": "12"}, "top.groups: expected list[int], got '12'"),
        ({"table": [1]}, "top.table: expected dict[str, float] or null, got [1]"),
        ({"table": {"a": "b"}}, "top.table: expected dict[str, float] or null"),
        ({"kind": "c"}, "top.kind: expected Literal['a', 'b'], got 'c'"),
        ({"name": "z"}, "top.name: 'z' is not one of x, y"),
        ({"sise": 1}, "top: unknown key 'sise'; known keys are anything, groups, kind, maybe, name, rate, size, table"),
        ({3: 1, "sise": 1}, "top: unknown key '3'"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        from_mapping(Example, {"name": "x", **values}, where="top")
    assert message in str(error.value)


def test_missing_key_and_no_mapping():
    with pytest.raises(ConfigurationError, match="top: missing key 'name'"):
        from_mapping(Example, {}, where="top")
    with pytest.raises(ConfigurationError, match="top: expected a mapping, got list"):
        from_mapping(Example, [], where="top")


def test_range_refuses_nan():
    with pytest.raises(ConfigurationError, match="outside"):
        check_range("rate", float("nan"), 0, 1)
