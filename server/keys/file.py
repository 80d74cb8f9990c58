"""The file of keys: a mapping from a key's name to its hash, role and limits, as YAML or JSON.

    alice:
      hash: sha256:...
      requests_per_minute: 60

Keys are added at its end and taken out line by line, so that comments of the operator stay. It is replaced as a whole
(a reader sees the old or the new one), readable by its owner only.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from pydantic import ValidationError

from model.errors import ConfigurationError
from server.keys.key import NAME, Key, is_name


def read(path: Path) -> tuple[Key, ...]:
    """The keys in a file.

    Raises:
        ConfigurationError: not readable, not a mapping, a name given twice, a field unknown or impossible; names file,
            line and key, never a value.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None


def parse(text: str, where: str) -> tuple[Key, ...]:
    """The keys in the text of a file; `where` is its name in messages. Raises as `read`."""
    keys: list[Key] = []
    names: set[str] = set()
    hashes: dict[str, str] = {}
    for name, value, node in _entries(text, where):
        place = f"{where}:{node.start_mark.line + 1}: {name}"
        if name in names:
            raise ConfigurationError(f"{place}: given twice")
        if not isinstance(value, dict):
            raise ConfigurationError(f"{place}: expected `hash: sha256:...` and what else it may do")
        try:
            key = Key(**{**value, "name": name})
        except (ValidationError, TypeError) as error:
            raise ConfigurationError(f"{place}: {_reason(error)}") from None
        if key.hash in hashes:
            raise ConfigurationError(f"{place}: the same secret as {hashes[key.hash]}; make a key for each")
        names.add(name)
        hashes[key.hash] = name
        keys.append(key)
    return tuple(keys)


def add(path: Path, key: Key) -> None:
    """Append a key; makes the file if there is none.

    Raises:
        ConfigurationError: there is one of this name, or the file is not what it should be.
    """
    with _lock(path):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if any(known.name == key.name for known in parse(text, str(path))):
            raise ConfigurationError(f"{path}: there is a key named {key.name}; revoke it first or choose another name")
        fields = key.model_dump(mode="json", exclude_defaults=True)
        entry = {fields.pop("name"): fields}
        if text.lstrip().startswith("{"):
            text = json.dumps(json.loads(text) | entry, indent=2) + "\n"
        else:
            text = text + ("\n" if text and not text.endswith("\n") else "") + yaml.safe_dump(entry, sort_keys=False)
        parse(text, str(path))
        _replace(path, text)


def revoke(path: Path, name: str) -> None:
    """Take a key out.

    Raises:
        ConfigurationError: there is none of this name, or the file is not what it should be.
    """
    with _lock(path):
        keys = read(path)
        if all(key.name != name for key in keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise ConfigurationError(f"{path}: no key named {name[:64]!r}; known are {known}")
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            text = json.dumps({key: value for key, value in json.loads(text).items() if key != name}, indent=2) + "\n"
        else:
            lines = text.splitlines(keepends=True)
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            assert isinstance(node, yaml.MappingNode)  # as `read` found it
            first, last = next(
                (begin.start_mark.line, end.end_mark.line) for begin, end in node.value if begin.value == name
            )
            # What stands before the next key are comments about that one.
            comments = [line for line in lines[first:last] if line.startswith(("#", "\n"))]
            text = "".join([*lines[:first], *comments, *lines[last:]])
        if {key.name for key in parse(text, str(path))} != {key.name for key in keys} - {name}:
            raise ConfigurationError(f"{path}: could not take {name} out without touching others; edit the file")
        _replace(path, text)


def _entries(text: str, where: str) -> list[tuple[str, Any, yaml.Node]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(
            f"{where}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from None
    if node is None or values is None:
        return []
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise ConfigurationError(f"{where}: expected a mapping from names of keys to their hashes")
    if not all(isinstance(name, str) and is_name(name) for name in values):
        raise ConfigurationError(f"{where}: the name of a key must match {NAME}")
    return [(str(name.value), values[name.value], name) for name, _ in node.value]


def _reason(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "the fields must have names"
    detail = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(step) for step in detail["loc"] if isinstance(step, str) and step in Key.model_fields)
    return f"{field}: {detail['msg'].removeprefix('Value error, ')}" if field else f"{detail['loc']}: {detail['msg']}"


def _lock(path: Path) -> FileLock:
    if not path.parent.is_dir():
        raise ConfigurationError(f"{path.parent}: no such directory")
    return FileLock(f"{path}.lock", timeout=10, mode=0o600)


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A link, such as a mounted secret's, stays one.
        os.replace(temporary, path.resolve())
    except BaseException:
        os.unlink(temporary)
        raise
