"""Renders the chart, as `helm template` does, into objects."""

import os
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.deploy import fetched
from tests.support.scripts import ROOT

CHART = ROOT / "helm"
CI = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "blue", "models"
Document = dict[str, Any]
# Of the pods of the server.
SELECTOR = {
    "app.kubernetes.io/name": "quartet",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/component": "server",
}


def helm(program: str, *arguments: str, values: Any = None) -> subprocess.CompletedProcess[str]:
    """Run `helm-3` or `helm-4`; `values` go in by standard input. No cluster and no home are in reach."""
    text = None
    words = [str(fetched(f"bin/{program}")), *arguments]
    if values is not None:
        words += ["--values", "-"]
        text = yaml.safe_dump(values)
    nowhere = str(fetched("bin"))
    environment = {"PATH": os.environ["PATH"], "HOME": nowhere, "KUBECONFIG": os.devnull}
    return subprocess.run(words, input=text, env=environment, capture_output=True, text=True, check=False)


@lru_cache
def template(program: str, kubernetes: str, file: Path | None) -> tuple[Document, ...]:
    """The objects of a values file; read-only, since every test sees the same ones."""
    files = ["--values", str(file)] if file else []
    return tuple(_documents(_rendered(program, "--kube-version", kubernetes, *files)))


def render(values: Any = None, *arguments: str) -> list[Document]:
    """The objects of some values."""
    return list(_documents(_rendered("helm-4", *arguments, values=values or {})))


def refusal(values: Any, program: str = "helm-4") -> str:
    """Why values are refused; empty if they are not."""
    done = helm(program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)
    return done.stderr if done.returncode else ""


def of_file(name: str) -> tuple[Document, ...]:
    """The objects of `ci/NAME-values.yaml`."""
    return template("helm-4", "1.37.0", CHART / "ci" / f"{name}-values.yaml")


def one(documents: Iterable[Document], kind: str, name: str | None = None) -> Document:
    """The only object of a kind (and name)."""
    (found,) = (item for item in documents if item["kind"] == kind and name in (None, item["metadata"]["name"]))
    return found


def kinds(documents: Iterable[Document]) -> set[str]:
    """The kinds there are."""
    return {item["kind"] for item in documents}


def workload(documents: Iterable[Document]) -> Document:
    """The Deployment or StatefulSet."""
    (found,) = (item for item in documents if item["kind"] in ("Deployment", "StatefulSet"))
    return found


def pod(documents: Iterable[Document]) -> Document:
    """The pods' specification."""
    specification: Document = workload(documents)["spec"]["template"]["spec"]
    return specification


def server(documents: Iterable[Document]) -> Document:
    """The server's container."""
    (found,) = (item for item in pod(documents)["containers"] if item["name"] == "server")
    container: Document = found
    return container


def variables(container: Document) -> dict[str, Any]:
    """Environment of a container: a value, or the (Secret, entry) it comes from."""
    found = {}
    for item in container.get("env", []):
        source = item.get("valueFrom", {}).get("secretKeyRef")
        found[item["name"]] = (source["name"], source["key"]) if source else item["value"]
    assert len(found) == len(container.get("env", [])), "a variable is given twice"
    return found


def _rendered(program: str, *arguments: str, values: Any = None) -> str:
    done = helm(program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, *arguments, values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


class _Strict(yaml.SafeLoader):
    """Refuses a key that is given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        assert len(names) == len(set(names)), f"given twice: {names} {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def _documents(text: str) -> Iterable[Document]:
    return [item for item in yaml.load_all(text, Loader=_Strict) if item]


def secrets_of(text: str) -> set[tuple[str, str]]:
    """The Secrets, and their entries, that rendered pods need."""
    found: set[tuple[str, str]] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            reference = node.get("secretKeyRef")
            if isinstance(reference, dict):
                found.add((reference["name"], reference["key"]))
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    for document in _documents(text):
        walk(document)
    return found
