"""How a run begins, so that it can be resumed and no other run goes on with it, and what it needs to be able to end."""

import importlib.util
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.errors import ConfigurationError, DataError
from model.sources import sha256_of
from training.parallel import check_parallel
from training.parts import train_file
from training.recipe import Recipe
from training.saved import saved_steps, stage_folder

RECORD = "run.json"
# In a source's folder, beside its training samples.
VALID = "valid.jsonl"


def begin(recipe: Recipe, corpus: Path, output: Path, *, resume: bool) -> None:
    """Make the output folder and record what is trained in it.

    Raises:
        ConfigurationError: it holds saved steps and `resume` is not given, or those of another recipe or corpus.
        DataError: the corpus lacks a source.
    """
    check_installed()
    check_parallel(recipe.parallel)
    if recipe.compile:
        check_compiler()
    files = {source: train_file(corpus, source) for source in recipe.sources}
    files |= {f"{source}/{VALID}": corpus / source / VALID for source in recipe.validation_sources}
    for path in files.values():
        if not path.is_file():
            raise DataError(f"{path} does not exist; build the corpus with `quartet data build`")
    # Through JSON, as it will be read again.
    hashes = {source: sha256_of(path) for source, path in files.items()}
    start = None if recipe.start is None else sha256_of(Path(recipe.start))
    record = json.loads(json.dumps({"recipe": asdict(recipe), "start": start, "samples": hashes}))
    path = output / RECORD
    saved = [step for stage in recipe.stages for step in saved_steps(stage_folder(output, stage.name))]
    if saved and not resume:
        raise ConfigurationError(
            f"{saved[-1]} is of an earlier run: continue it with --resume, or give another --output"
        )
    if saved and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in record if before.get(key) != record[key]]
        if changed:
            raise ConfigurationError(
                f"{path}: the run was started with another {changed[0]}{_first_difference(before, record)}; restore "
                "it, or give another --output"
            )
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _first_difference(before: Any, now: Any, path: str = "") -> str:
    """Where two records first differ: ` (recipe.stages[0].max_length: 128, now 256)`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            if before.get(key) != now.get(key):
                return _first_difference(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            if old != new:
                return _first_difference(old, new, f"{path}[{index}]")
    shown = [text if len(text := json.dumps(value)) < 40 else "..." for value in (before, now)]
    return f" ({path}: {shown[0]}, now {shown[1]})"


def check_installed() -> None:
    """Refuse to begin without the libraries that are only needed later.

    Raises:
        ConfigurationError: one of them is missing.
    """
    names = ("sklearn", "matplotlib", "tensorboard")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f'training needs {missing[0]}, which is not installed: pip install "quartet[train]"')


def check_compiler() -> None:
    """Refuse `compile: true` where it would fail after minutes of preparation.

    Raises:
        ConfigurationError: no C++ compiler.
    """
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise ConfigurationError(
            f"compile: true needs a C++ compiler ({' or '.join(names)}); install one or set compile: false"
        )
