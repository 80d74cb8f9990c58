"""Writes what the Helm chart says twice: values.schema.json, tables of README.md, rules and dashboard.

    python tools/chart.py

values.yaml says everything once. A comment `# -- ...` above a key describes it; `# @schema {...}` narrows what is
accepted, over what the default value's type says. `{"$config": true}` stands for the settings of `quartet serve`,
`{"$secrets": true}` for those of them that are secrets. A mapping is closed, unless its `@schema` opens it: a name that
is not in values.yaml is refused at the installation. Rules and dashboard are copies of those that Compose uses, since
a chart can only read its own files.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm"
BEGIN, END = "<!-- values: written by tools/chart.py -->", "<!-- end of values -->"
TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "seq": "array", "map": "object"}


@dataclass
class Value:
    """One key of values.yaml."""

    path: str
    default: Any
    kind: str
    """JSON Schema's name of the default's type."""
    text: str = ""
    narrowed: dict[str, Any] = field(default_factory=dict)
    members: list[Value] = field(default_factory=list)


def read_values(path: Path) -> list[Value]:
    """The keys of a values file, with what the comments above them say.

    Raises:
        SystemExit: a `@schema` that is not JSON; names the line.
    """
    text = path.read_text(encoding="utf-8")
    return _members(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), "")


def _members(node: Any, lines: list[str], prefix: str) -> list[Value]:
    found = []
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        text, narrowed = _comment(lines, key.start_mark.line)
        default = yaml.safe_load(yaml.serialize(value))
        item = Value(name, default, TYPES[value.tag.rpartition(":")[2]], text, narrowed)
        if item.kind == "object" and not narrowed:
            item.members = _members(value, lines, f"{name}.")
        found.append(item)
    return found


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    """Description and schema in the comment that ends above line `line` (from 0)."""
    begin = line
    while begin and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    words = [text.strip().removeprefix("#").strip() for text in lines[begin:line]]
    schema = " ".join(word.removeprefix("@schema").strip() for word in words if word.startswith("@schema"))
    plain = [word for word in words if not word.startswith("@schema")]
    starts = [number for number, word in enumerate(plain) if word.startswith("-- ")]
    text = " ".join(plain[starts[-1] :]).removeprefix("-- ") if starts else ""
    try:
        return text, json.loads(schema) if schema else {}
    except json.JSONDecodeError as error:
        raise SystemExit(f"values.yaml:{line}: @schema is not JSON: {error}") from None


def schema_of(value: Value) -> dict[str, Any]:
    """JSON Schema of one value.

    Raises:
        SystemExit: an empty mapping or list that does not say what it may hold.
    """
    if value.narrowed.get("$config"):
        return {"description": value.text, **settings_schema(secret=False)}
    if value.narrowed.get("$secrets"):
        return {"description": value.text, **settings_schema(secret=True)}
    own: dict[str, Any] = {"type": value.kind}
    if value.text:
        own["description"] = value.text
    if value.members:
        own |= closed(value.members)
    elif value.kind in ("object", "array") and not value.narrowed:
        raise SystemExit(f"{value.path}: say in an @schema comment what it may hold")
    return own | value.narrowed


def closed(members: list[Value]) -> dict[str, Any]:
    """An object that holds these and nothing else."""
    properties = {member.path.rpartition(".")[2]: schema_of(member) for member in members}
    return {"additionalProperties": False, "properties": properties}


def settings_schema(*, secret: bool) -> dict[str, Any]:
    """The server's settings that are (not) secrets; the latter as entries of Secrets."""
    sys.path.insert(0, str(ROOT))
    from server.settings import ServerSettings
    from server.settings.messages import is_secret

    names = [name for name, about in ServerSettings.model_fields.items() if is_secret(about) == secret]
    if secret:
        properties: dict[str, Any] = {"name": {"type": "string", "minLength": 1}, "key": {"type": "string"}}
        entry = {"type": "object", "additionalProperties": False, "required": ["name", "key"], "properties": properties}
        return {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(names, entry)}
    published = ServerSettings.model_json_schema()["properties"]
    machine = ("default", "title")  # a default may be a path of this machine
    properties = {name: {key: item for key, item in published[name].items() if key not in machine} for name in names}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def schema(values: list[Value]) -> str:
    """The text of values.schema.json."""
    content = closed(values)
    content["properties"]["global"] = {"type": "object", "description": "Of a parent chart; not used."}
    draft = "http://json-schema.org/draft-07/schema#"
    top = {"$schema": draft, "title": "Values of the chart quartet", "type": "object", **content}
    return json.dumps(top, indent=2, ensure_ascii=False) + "\n"


def tables(values: list[Value]) -> str:
    """The values as Markdown tables: one for all that stand alone, one for each group."""
    alone = [value for value in values if not value.members]
    parts = [_table(alone)]
    for value in values:
        if value.members:
            parts.append(f"### {value.path}\n\n" + _table(list(_leaves(value))))
    return "\n".join(parts)


def _leaves(value: Value) -> Any:
    for member in value.members:
        if member.members:
            yield from _leaves(member)
        else:
            yield member


def _table(values: list[Value]) -> str:
    lines = ["| value | default | what |", "|---|---|---|"]
    for value in values:
        default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def readme(text: str, values: list[Value]) -> str:
    """README.md with its tables written anew.

    Raises:
        SystemExit: the marks between which they stand are missing.
    """
    found = re.fullmatch(rf"(.*{re.escape(BEGIN)}\n).*?(\n{re.escape(END)}.*)", text, re.S)
    if not found:
        raise SystemExit(f"helm/README.md: the lines {BEGIN!r} and {END!r} are missing")
    return f"{found[1]}\n{tables(values)}{found[2]}"


def copies() -> dict[Path, bytes]:
    """Files of the chart that are those of docker/monitoring, and what they must hold."""
    source = ROOT / "docker" / "monitoring"
    return {CHART / "files" / name: (source / name).read_bytes() for name in ("rules.yaml", "dashboard.json")}


def main() -> None:
    """Write the files."""
    for copy, content in copies().items():
        copy.write_bytes(content)
    values = read_values(CHART / "values.yaml")
    (CHART / "values.schema.json").write_text(schema(values), encoding="utf-8")
    page = CHART / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8"), values), encoding="utf-8")


if __name__ == "__main__":
    main()
