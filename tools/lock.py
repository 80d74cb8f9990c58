"""Resolves the lock files in requirements/ again from pyproject.toml.

    python tools/lock.py [--upgrade] [cpu] [gpu] [image-cpu] [image-gpu] [deploy] [installer]

`cpu.lock` is what `make venv` installs and the tests run on. `gpu.lock` is resolved the same way for Linux x86_64 with
CUDA. Pins that still fit are kept unless `--upgrade` is given. Packages come from wherever pip is configured to look;
the lock files name no place, only versions and the sha256 of every file of a release, so any mirror will do.
Needs `uv`, which `make venv` installs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from pip_settings import read_pip_settings, uv_settings

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TORCH_HASHES = REQUIREMENTS / "torch-cpu.sha256"

# name: (arguments of `uv pip compile`, what a reader must know)
LOCKS = {
    "cpu": (
        "pyproject.toml --extra=cpu --extra=train --extra=dev --extra=parity --universal --python-version=3.11 "
        "--excludes=requirements/cpu.exclude",
        "CPU: engine, training and development tools. Installed and tested on Linux x86_64, Python 3.11.",
    ),
    "gpu": (
        "pyproject.toml --extra=gpu --extra=train --python-version=3.11 --python-platform=x86_64-manylinux_2_28",
        "CUDA GPU: engine and training, Linux x86_64, Python 3.11. Resolved, never installed: no GPU at hand.",
    ),
    "image-cpu": (
        "pyproject.toml --extra=cpu --universal --python-version=3.11 --excludes=requirements/cpu.exclude "
        "--constraints=requirements/cpu.lock",
        "What docker/Dockerfile installs for the target cpu: the part of cpu.lock that serves.",
    ),
    "image-gpu": (
        "pyproject.toml --extra=serve --python-version=3.12 --python-platform=x86_64-manylinux_2_28 "
        "--excludes=requirements/image-gpu.exclude --constraints=requirements/gpu.lock",
        "What docker/Dockerfile installs for the target gpu beside what its base image has: no torch, no engine.",
    ),
    "deploy": (
        "requirements/deploy.in --no-deps --universal --python-version=3.11",
        "What the tests of helm/ and docker/ run or read; see tools/deploy_tools.py.",
    ),
    "installer": (
        "requirements/installer.in --universal --python-version=3.11",
        "The program that installs the other lock files.",
    ),
}


def with_torch_hashes(lock: str) -> str:
    """Gives the pin of torch's CPU build the hashes of all its wheels.

    The resolver sees only the wheels of the place it asked, often the one for this machine. The published hashes for
    Python 3.11 to 3.14 on x86_64 and aarch64 are in requirements/torch-cpu.sha256.

    Raises:
        SystemExit: the list is for another version of torch, or disagrees with the wheel that was seen.
    """
    found = re.search(r"^torch==(\S+\+cpu)[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}[^\n]*\n)+)", lock, re.M)
    if found is None:
        return lock
    published = dict(reversed(line.split()) for line in TORCH_HASHES.read_text().splitlines())
    wrong = [name for name in published if not name.startswith(f"torch-{found[1]}-")]
    seen = set(re.findall(r"sha256:([0-9a-f]{64})", found[2]))
    if wrong or not seen & set(published.values()):
        raise SystemExit(
            f"{TORCH_HASHES} does not fit torch {found[1]}: write the sha256 and name of each of its wheels into it "
            "(PyTorch's CPU index lists both)"
        )
    hashes = sorted({*seen, *published.values()})
    lines = " \\\n".join(f"    --hash=sha256:{value}" for value in hashes) + "\n"
    return lock[: found.start(2)] + lines + lock[found.end(2) :]


def resolve(name: str, upgrade: bool) -> None:
    """Writes requirements/{name}.lock.

    Raises:
        SystemExit: pip's configuration has no counterpart in uv, or there is no solution.
    """
    translated = uv_settings(read_pip_settings(Path(sys.executable)))
    if translated is None:
        raise SystemExit("pip is configured with something uv has no counterpart for (proxy, client certificate, ...)")
    places, environment = translated
    # A local mirror holds only the files of its own machine, and its hashes would be all that the lock accepts.
    places = [word for word in places if not word.startswith("--index=file:")]
    if name == "gpu":  # a folder with the CPU build of torch would win over PyPI's CUDA build
        places = [word for word in places if not word.startswith("--find-links=")]
    arguments, note = LOCKS[name]
    target = REQUIREMENTS / f"{name}.lock"
    command = [Path(sys.executable).parent / "uv", "pip", "compile", "--quiet", "--no-header", "--generate-hashes"]
    command += [
        *arguments.split(),
        *places,
        "--output-file",
        target.relative_to(ROOT),
        *(["--upgrade"] if upgrade else []),
    ]
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}).returncode:
        raise SystemExit(f"{target.name}: no solution, see above")
    body = re.sub(r" \(.*?pyproject\.toml\)", "", target.read_text())  # no machine's paths
    header = f"# {note}\n# Written by `make lock` (tools/lock.py). Do not edit.\n\n"
    target.write_text(header + with_torch_hashes(body))
    print(f"{target.relative_to(ROOT)}: {len(re.findall(r'^[A-Za-z0-9].*==', body, re.M))} packages")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="resolve the lock files again")
    parser.add_argument("names", nargs="*", default=list(LOCKS), help="default: all")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    for name in options.names:
        resolve(name, options.upgrade)


if __name__ == "__main__":
    main()
