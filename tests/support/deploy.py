"""Finds the programs and schemas that the tests of helm/ and docker/ need, and skips with a reason without them."""

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.scripts import script

FETCH = "run .venv/bin/python tools/deploy_tools.py"


TOOLS = script("tools/deploy_tools.py")
KUBERNETES: tuple[str, ...] = TOOLS.KUBERNETES
HELM: tuple[str, ...] = tuple(TOOLS.HELM)


def fetched(name: str) -> Path:
    """A file that `tools/deploy_tools.py` fetches; skips the test without it."""
    path: Path = TOOLS.place() / name
    if not path.exists():
        pytest.skip(f"{name} is not there; {FETCH}")
    return path


def program(name: str, package: str) -> str:
    """A program of a Debian package, on the PATH; skips the test without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it is in Debian's package {package}")
    return found


@lru_cache
def _definitions(version: str) -> Registry[Any]:
    contents = json.loads(fetched(f"kubernetes/{version}/_definitions.json").read_text())
    return Resource.from_contents(contents) @ Registry()


@lru_cache
def validator(version: str, api: str, kind: str) -> Draft202012Validator | None:
    """What checks objects of a kind for a version of Kubernetes, strictly; None for a kind that nobody describes."""
    group, _, number = api.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    own = fetched(f"kubernetes/{version}/_definitions.json").with_name(f"{name}.json")
    if own.is_file():
        schema = json.loads(own.read_text())
        return Draft202012Validator(
            schema, registry=_definitions(version).with_resource(schema["$id"], _resource(schema))
        )
    custom = fetched("custom") / f"{kind.lower()}.json"
    return Draft202012Validator(json.loads(custom.read_text())) if custom.is_file() else None


def _resource(schema: Any) -> Resource[Any]:
    return Resource.from_contents(schema)


def mistakes(version: str, document: dict[str, Any]) -> list[str]:
    """What is wrong with an object, as `path: reason`."""
    checks = validator(version, document["apiVersion"], document["kind"])
    if checks is None:
        return [f"{document['apiVersion']} {document['kind']}: no schema"]
    return [f"{document['kind']} {error.json_path}: {error.message[:300]}" for error in checks.iter_errors(document)]
