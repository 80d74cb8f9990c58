"""How large a grammar a request may bring: JSON schemas, regular expressions, choices.

The engine compiles them before the answer begins, in a few threads that nothing interrupts, and what is repeated a
billion times is written out a billion times. One such request would keep all others with a grammar waiting for ever.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from server.errors import RefusedError, refuse

MAX_NODES = 5000
"""Values in all schemas of a request."""
MAX_DEPTH = 64
MAX_REPEAT = 1000
"""Largest number in a schema (`minItems`, `maxLength`, ...) or between the braces of an expression."""
MAX_REPEATS = 10_000
"""Product of all repetitions of one expression; they may stand in each other."""
MAX_TEXT = 20_000
"""Characters of a regular expression, of a grammar, and of all choices together."""
MAX_CHOICES = 1000
CODE = "grammar_too_large"
_COUNTS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
)
_EXPRESSIONS = ("pattern", "regex", "guided_regex", "grammar", "guided_grammar")
# What may be JSON in a string.
_TEXTS = ("json", "guided_json", "structural_tag")
_BRACES = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_STRUCTURED = ("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar")
# Where the bodies of the APIs have schemas.
_PLACES = ("response_format", "text", "tools", *_STRUCTURED)


def check_grammars(body: Mapping[str, Any]) -> None:
    """Look at everything in a body that the engine would compile.

    Raises:
        RefusedError: 400, `param` is the field.
    """
    for place in _PLACES:
        if body.get(place) is not None:
            _check(place, body[place])


def _check(place: str, value: Any) -> None:
    for node, (key, item, depth) in enumerate(_walk(place, value)):
        if node >= MAX_NODES:
            raise _too_large(place, f"at most {MAX_NODES} values are accepted in it")
        if depth > MAX_DEPTH:
            raise _too_large(place, f"at most {MAX_DEPTH} levels are accepted in it")
        if key in _COUNTS and isinstance(item, int | float) and abs(item) > MAX_REPEAT:
            raise _too_large(place, f"{key} is at most {MAX_REPEAT}")
        if key in _EXPRESSIONS and isinstance(item, str):
            _check_repeats(place, item)
        if key in ("choice", "enum", "guided_choice") and isinstance(item, list):
            _check_choices(place, key, item)


def _check_repeats(place: str, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise _too_large(place, f"an expression has at most {MAX_TEXT} characters")
    product = 1
    for low, high in _BRACES.findall(text):
        # Leading zeros and thousands of digits are not worth reading.
        numbers = [int(number) for number in (low, high) if number and len(number) < 10]
        most = max(numbers, default=1)
        if most > MAX_REPEAT or any(len(number) >= 10 for number in (low, high)):
            raise _too_large(place, f"an expression repeats at most {MAX_REPEAT} times")
        product *= max(most, 1)
    if product > MAX_REPEATS:
        raise _too_large(place, f"the repetitions of an expression multiply to at most {MAX_REPEATS}")


def _check_choices(place: str, key: str, choices: list[Any]) -> None:
    if len(choices) > MAX_CHOICES:
        raise _too_large(place, f"{key} has at most {MAX_CHOICES} values")
    if sum(len(choice) for choice in choices if isinstance(choice, str)) > MAX_TEXT:
        raise _too_large(place, f"{key} has at most {MAX_TEXT} characters")


def _walk(place: str, value: Any) -> Iterator[tuple[str, Any, int]]:
    """Every value with the key under which it stands and its depth."""
    waiting: list[tuple[str, Any, int]] = [(place, value, 0)]
    while waiting:
        key, item, depth = waiting.pop()
        yield key, item, depth
        if key in _TEXTS and isinstance(item, str):
            item = _read(place, item)
        if isinstance(item, dict):
            waiting.extend((str(name), content, depth + 1) for name, content in item.items())
        elif isinstance(item, list):
            waiting.extend(("", content, depth + 1) for content in item)


def _read(place: str, text: str) -> Any:
    """JSON in a string; what is none is left to the engine, which says so."""
    if len(text) > 10 * MAX_TEXT:
        raise _too_large(place, f"a schema has at most {10 * MAX_TEXT} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _too_large(place: str, reason: str) -> RefusedError:
    return refuse(400, f"{place}: the grammar is too large: {reason}", param=place, code=CODE)
