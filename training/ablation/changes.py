"""Values of a decoded recipe replaced by path: `modalities.*.projector.tokens`, `stages.0.max_length`.

A path names keys of mappings and positions of lists, `*` all of them. A value replaces what is there, a mapping too, as
a whole; the recipe's own checks then say whether the result can work.
"""

import copy
from collections.abc import Mapping
from typing import Any

from model.errors import ConfigurationError


def changed(values: Mapping[str, Any], changes: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """A copy of a decoded recipe with changes in the order in which they are given.

    Args:
        values: the recipe.
        changes: path -> new value.
        where: of the changes in their file, used in messages.

    Raises:
        ConfigurationError: a path that leads nowhere, by its first part that does not exist.
    """
    result = copy.deepcopy(dict(values))
    for path, value in changes.items():
        parts = path.split(".")
        if "" in parts or parts[-1] == "*":
            raise ConfigurationError(f"{where}: {path!r} is no path; write keys with dots between, the last one a name")
        _replace(result, parts, value, f"{where}: {path!r}")
    return result


def _replace(values: Any, parts: list[str], value: Any, where: str) -> None:
    if len(parts) == 1 and isinstance(values, dict):
        values[parts[0]] = copy.deepcopy(value)
        return
    keys = _keys(values, parts[0])
    if not keys:
        raise ConfigurationError(f"{where} leads nowhere: there is no {parts[0]!r}; change what holds it as a whole")
    for key in keys:
        if len(parts) == 1:
            values[key] = copy.deepcopy(value)
        else:
            _replace(values[key], parts[1:], value, where)


def _keys(values: Any, part: str) -> list[Any]:
    """The keys or positions of `values` that one part of a path means."""
    if isinstance(values, dict):
        return list(values) if part == "*" else [part] if part in values else []
    if isinstance(values, list):
        positions = range(len(values))
        return list(positions) if part == "*" else [i for i in positions if str(i) == part]
    return []
