"""Runs what CONTRIBUTING says: its commands, and the encoder it adds step by step."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from model import encoders
from model.encoders import encoder_config
from model.projectors import projector_config
from tests.docs.markdown import ROOT, Block, blocks
from tests.support import tiny
from tests.support.reference import Reference, image, user
from training.initialisation import Initialisation

CONTRIBUTING = "CONTRIBUTING.md"
# First words of a command -> why it is not run, and what is checked in its place by `test_commands`.
NOT_RUN = {
    "python -m pytest": "it would run the tests from within themselves; its paths and markers are checked",
    "python tools/lock.py": "it asks a package index; its arguments are checked against its help",
    ". .venv/bin/activate": "the tests already run in the environment; the folder is checked against the Makefile",
}
(FILE,) = (b for b in blocks(CONTRIBUTING) if b.language == "python" and "class Dinov2Config" in b.text)
(REGISTRY,) = (b for b in blocks(CONTRIBUTING) if b.text.startswith("FAMILIES"))
(SIZE,) = (b for b in blocks(CONTRIBUTING) if b.text.startswith('"dinov2"'))
(TEST,) = (b for b in blocks(CONTRIBUTING) if "def test_" in b.text)
(RECIPE,) = (b for b in blocks(CONTRIBUTING) if b.language == "yaml")
SHELL = [b for b in blocks(CONTRIBUTING) if b.language == "sh"]


def test_every_block_is_run() -> None:
    known = {FILE, REGISTRY, SIZE, TEST, RECIPE, *SHELL}
    assert [str(block) for block in blocks(CONTRIBUTING) if block not in known] == []


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands(block: Block) -> None:
    for words in block.commands:
        line = shlex.join(words)
        skipped = next((start for start in NOT_RUN if line.startswith(start)), None)
        if words[0] == "make":
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, env=environment, capture_output=True, check=True)
        elif skipped == "python -m pytest":
            settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
            marker = words[words.index("-m", 3) + 1].removeprefix("not ") if "-m" in words[3:] else None
            assert marker is None or any(item.startswith(f"{marker}:") for item in settings["markers"])
            assert all((ROOT / word).exists() for word in words if word.startswith("tests"))
        elif skipped == "python tools/lock.py":
            shown = subprocess.run([sys.executable, *words[1:2], "--help"], cwd=ROOT, capture_output=True, text=True)
            assert all(word in shown.stdout for word in words[2:] if word.startswith("-"))
            assert all((ROOT / f"requirements/{word}.lock").is_file() for word in words[2:] if word[0] != "-")
        else:
            assert skipped == ". .venv/bin/activate", f"{block}: no rule for {line}"
            assert re.search(r"^VENV\s+\?= \.venv$", (ROOT / "Makefile").read_text(), re.M)


def load(block: Block, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A block as the module `name`, from a file in `folder`."""
    path = folder / f"{name.rpartition('.')[2]}.py"
    path.write_text(block.text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look for their annotations there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Steps 1 to 3: the file, its name, and its tiny size."""
    module = load(FILE, "model.encoders.dinov2", tmp_path, monkeypatch)
    names = {**vars(encoders), "Dinov2Config": module.Dinov2Config}
    exec(compile(REGISTRY.text, str(REGISTRY), "exec"), names)
    assert names["FAMILIES"] == {**encoders.FAMILIES, "dinov2": module.Dinov2Config}
    for family, config in names["FAMILIES"].items():
        monkeypatch.setitem(encoders.FAMILIES, family, config)
    for family, values in eval(f"{{{SIZE.text}}}").items():
        monkeypatch.setitem(tiny.ENCODERS, family, values)
    return module


def test_the_new_encoder_keeps_the_interface(added: ModuleType, tmp_path: Path) -> None:
    """The tests that step 3 says it joins, called with the new family."""
    from tests.model import test_encoders as all_families

    all_families.test_interface("dinov2", tmp_path)
    all_families.test_encoding_does_not_depend_on_neighbours("dinov2")
    config = encoder_config(tiny.ENCODERS["dinov2"])
    for size in all_families.SHAPES.values():
        assert config.preprocess(tiny.picture(1, size)).shape == (3, 28, 28)
    with pytest.raises(ValueError, match=r"pixels: 3 is outside 14\.\.4096"):
        encoder_config({"family": "dinov2", "pixels": 3})
    with pytest.raises(ValueError, match="unknown key 'depth'"):
        encoder_config({"family": "dinov2", "config": {"depth": 3}})


def test_its_own_tests_pass(added: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 4."""
    tests = load(TEST, "test_dinov2", tmp_path, monkeypatch)
    tests.test_pooled_output_from_released_files()
    (sizes,) = (mark.args[1] for mark in tests.test_preprocessing_is_the_published_one.pytestmark)
    for size in sizes:
        tests.test_preprocessing_is_the_published_one(size)


def test_a_model_sees_through_it(added: ModuleType, tmp_path: Path) -> None:
    """Step 5: nothing else changes. A checkpoint with it is written, opened, loaded, and tells pictures apart."""
    values = yaml.safe_load(RECIPE.text)
    assert encoder_config(values["encoder"]).dim == 768
    assert projector_config(values["projector"]).tokens == 4
    Initialisation(**values["initialisation"])
    reference = Reference.load(tiny.build_checkpoint(tmp_path, image="dinov2", audio=None))
    answers = [reference.answer([user("Look: ", image(seed))]) for seed in (0, 1)]
    assert answers[0].logprobs != answers[1].logprobs


@pytest.mark.parametrize(("block", "name"), [(FILE, "model/encoders/dinov2.py"), (TEST, "tests/model/test_dinov2.py")])
def test_the_new_files_pass_the_checks(block: Block, name: str) -> None:
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [Path(sys.executable).with_name("ruff"), *command, "--stdin-filename", name, "-"],
            cwd=ROOT, input=block.text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
