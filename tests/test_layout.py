"""What must hold for every file of the repository, whoever adds it."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("model", "server", "training")
FORBIDDEN_IMPORTS = {
    "model": {"server", "training"},
    "server": {"training"},
    "training": {"server", "vllm"},
}
MAX_LINES = 400
# Machines' paths and the hosts of package registries have no place in the repository. Written so that this file passes.
FORBIDDEN_TEXT = re.compile(r"(?<![\w.<])/(?:work|opt|farm)/|pypi\.org|pythonhosted|registry\.npm|deb\.debian")


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in python_files(package)
        for name in imported(path)
        if name.partition(".")[0] in FORBIDDEN_IMPORTS[package]
    ]
    assert wrong == []


def test_in_model_only_the_adapter_imports_vllm() -> None:
    adapter = ROOT / "model" / "vllm_adapter"
    wrong = [
        str(path.relative_to(ROOT))
        for path in python_files("model")
        if adapter not in path.parents and any(name.partition(".")[0] == "vllm" for name in imported(path))
    ]
    assert wrong == []


def test_files_stay_small_and_say_what_they_are() -> None:
    wrong = []
    for path in python_files(*PACKAGES, "tools"):
        text = path.read_text()
        if (lines := text.count("\n")) > MAX_LINES:
            wrong.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_LINES}")
        if not ast.get_docstring(ast.parse(text)):
            wrong.append(f"{path.relative_to(ROOT)}: no module docstring")
    assert wrong == []


def test_no_machine_or_registry_is_named() -> None:
    wrong = []
    for path in tracked():
        if path == Path(__file__) or path.suffix not in {
            "",
            ".py",
            ".md",
            ".toml",
            ".yaml",
            ".yml",
            ".sh",
            ".json",
            ".lock",
        }:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := FORBIDDEN_TEXT.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {found[0]}")
    assert wrong == []


def test_every_entry_point_names_something_that_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wrong = []
    for group in (*project["entry-points"].values(), project["scripts"]):
        for name, value in group.items():
            module, _, attribute = value.partition(":")
            path = ROOT.joinpath(*module.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            if not file.is_file() or attribute not in top_level_names(file):
                wrong.append(f"{name} = {value}")
    assert wrong == []


def top_level_names(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_every_locked_file_has_a_hash_and_no_place() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        pins = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.M).strip())
        assert len(pins) > 0
        for pin in pins:
            assert re.match(r"[a-z0-9][a-z0-9._\-\[\]]*==\S+", pin), pin[:80]
            assert "--hash=sha256:" in pin, pin[:80]
            assert "://" not in pin, pin[:80]


def test_the_cpu_lock_has_no_gpu_packages() -> None:
    names = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / "cpu.lock").read_text(), re.M)
    wrong = [
        name for name in names if name.startswith(("nvidia-", "triton", "torchvision", "torchaudio", "torchcodec"))
    ]
    assert wrong == []
