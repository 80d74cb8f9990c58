"""Makes the virtual environment: exactly what the lock file pins, then this project, editable.

    python3 tools/install.py [--venv .venv] [--lock requirements/cpu.lock] [--without-project]

Wheels come from wherever the user's pip is configured to look, and every file's sha256 must be in the lock. uv does the
work when it can be had (seconds instead of minutes); otherwise, or when uv fails, pip installs the same lock. The CPU
build of torch is not on PyPI: if the configured places do not have it, PyTorch's own CPU index is asked for this one
package. Needs only the standard library; running it again repairs an interrupted installation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from pip_settings import read_pip_settings, uv_settings

ROOT = Path(__file__).resolve().parent.parent
INSTALLER_LOCK = ROOT / "requirements" / "installer.lock"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# What the processes of the server import when they start. Wheels come without bytecode, and these three processes
# would compile the same files at the same time; everything else is compiled when it is first imported.
COMPILED = (
    "aiohttp", "fastapi", "huggingface_hub", "networkx", "numpy", "openai", "opentelemetry", "pandas",
    "prometheus_client", "pydantic", "rich", "scipy", "sklearn", "starlette", "sympy", "torch", "transformers",
    "typer", "vllm",
)  # fmt: skip
NOT_COMPILED = "/(tests?|testing)/|transformers/models/|vllm/model_executor/models/|vllm/models/"


class Installer:
    """Installs pinned requirements into one virtual environment, with uv or with pip."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "bin" / "python"
        self.uv: list[str] | None = None
        self.environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")

    def bootstrap(self) -> None:
        """Gets uv, if pip's configuration can be translated for it and uv can be installed."""
        translated = uv_settings(read_pip_settings(self.python))
        if translated is None or os.environ.get("QUARTET_INSTALLER") == "pip":
            return
        if self._pip("--quiet", "-r", str(INSTALLER_LOCK)):
            arguments, environment = translated
            self.environment |= environment
            program = [str(self.python.parent / "uv"), "pip", "install", "--python", str(self.python)]
            self.uv = [*program, "--no-deps", "--require-hashes", *arguments]

    def has(self, lock: Path) -> bool:
        """Says whether the configured places hold what `lock` pins; True when only pip could tell."""
        command = [*(self.uv or ["true"]), "--dry-run", "-r", str(lock)]
        return subprocess.run(command, env=self.environment, capture_output=True).returncode == 0

    def install(self, lock: Path, index: str | None = None) -> bool:
        """Installs every requirement of `lock`, looking at `index` too; says whether that worked."""
        if self.uv:
            command = [*self.uv, *([f"--index={index}"] if index else []), "-r", str(lock)]
            if subprocess.run(command, env=self.environment).returncode == 0:
                return True
            print("uv could not do it; trying pip")
        return self._pip(*([f"--extra-index-url={index}"] if index else []), "-r", str(lock))

    def install_project(self) -> bool:
        """Installs this repository, editable, with the build tool that the lock pins."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
        return done.returncode == 0

    def compile(self) -> None:
        """Writes the bytecode of what every start of the server imports."""
        site = subprocess.run(
            [self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        folders = [path for name in COMPILED if (path := Path(site, name)).is_dir()]
        command = [self.python, "-m", "compileall", "-q", "-j", "0", "-x", NOT_COMPILED, *folders]
        subprocess.run(command, env=self.environment)  # a file that does not compile is found when it is imported

    def _pip(self, *arguments: str) -> bool:
        command = [self.python, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-compile", *arguments]
        return subprocess.run(command, env=self.environment).returncode == 0


def requirement(lock: Path, name: str) -> str:
    """Returns the lines of `lock` that pin the package `name`; empty when it is not in the lock."""
    lines: list[str] = []
    for line in lock.read_text().splitlines():
        if line.startswith(f"{name}==") or (lines and lines[-1].endswith("\\")):
            lines.append(line)
    return "\n".join(lines)


def make(folder: Path, lock: Path, project: bool = True) -> None:
    """Makes or repairs the virtual environment `folder` with what `lock` pins and, unless told otherwise, this project.

    Raises:
        SystemExit: something could not be installed; the message says what to do.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before anything checks the version)
        raise SystemExit(
            f"quartet needs Python 3.11 or newer, this is {sys.version.split()[0]}. "
            "Name another one: make venv PYTHON=python3.11"
        )
    began = time.monotonic()
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
    installer = Installer(folder)
    installer.bootstrap()

    pinned = requirement(lock, "torch")
    if "+cpu" in pinned:
        with tempfile.TemporaryDirectory() as scratch:
            torch_lock = Path(scratch, "torch.lock")
            torch_lock.write_text(pinned + "\n")
            if not (installer.has(torch_lock) and installer.install(torch_lock)):
                print(f"the configured package places have no CPU build of torch; asking {TORCH_CPU_INDEX} too")
                if not installer.install(torch_lock, TORCH_CPU_INDEX):
                    raise SystemExit(
                        "torch could not be installed. Put its wheel (requirements/torch-cpu.sha256 lists the names) "
                        "into a folder and set PIP_FIND_LINKS to it, or give this machine access to PyTorch's index."
                    )
    if not installer.install(lock):
        raise SystemExit(f"{lock} could not be installed; the first error above says which package and why.")
    if project and not installer.install_project():
        raise SystemExit(f"the project in {ROOT} could not be installed; see the error above.")
    print("compiling what the server imports ...", flush=True)
    installer.compile()
    print(f"{folder} is ready after {time.monotonic() - began:.0f} s")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="make the virtual environment from a lock file")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="folder of the environment (default .venv)")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements" / "cpu.lock", help="lock file to install")
    parser.add_argument("--without-project", action="store_true", help="only what the lock file pins")
    options = parser.parse_args()
    make(options.venv.absolute(), options.lock, not options.without_project)


if __name__ == "__main__":
    main()
