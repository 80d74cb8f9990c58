"""Frozen weights whose sha256 a recipe does not know yet: taken as they come once, recorded, and checked ever after.

A recipe says `sha256: record` where its author could not know the hash. The first run fetches those weights and writes,
into `<output>/weights.json`, what they were: the source (a hub's branch replaced by its commit) and the sha256. The
checkpoint records the same, every later run in that folder checks them, and the log says what to write into the recipe.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path

from model.checkpoint import Part
from model.errors import ConfigurationError
from model.fields import from_mapping
from model.sources import Source, record
from training.recipe import Recipe

log = logging.getLogger(__name__)

RECORD = "record"
FILE = "weights.json"


def recorded(recipe: Recipe, output: Path) -> Recipe:
    """The recipe with a source and sha256 in the place of every `sha256: record`.

    Raises:
        SourceError: weights that cannot be fetched.
        ConfigurationError: a damaged `weights.json`.
    """
    parts = {"llm": recipe.llm, **{f"modalities.{name}": m.part for name, m in recipe.modalities.items()}}
    open_parts = {key: part for key, part in parts.items() if part.sha256 == RECORD}
    if not open_parts:
        return recipe
    known = _read(output / FILE)
    for key, part in open_parts.items():
        if part.source not in known:
            known[part.source] = found = resolved(part)
            log.warning("%s: %s is\n  source: %s\n  sha256: %s", key, part.source, found.source, found.sha256)
    output.mkdir(parents=True, exist_ok=True)
    content = {source: {"source": part.source, "sha256": part.sha256} for source, part in known.items()}
    (output / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    modalities = {
        name: replace(modality, **vars(known[modality.source])) if f"modalities.{name}" in open_parts else modality
        for name, modality in recipe.modalities.items()
    }
    return replace(recipe, llm=known[recipe.llm.source] if "llm" in open_parts else recipe.llm, modalities=modalities)


def resolved(part: Part) -> Part:
    """A part of a recipe with its sha256: the one that stands there, or that of what is fetched now.

    Raises:
        SourceError: it cannot be fetched.
    """
    if part.sha256 != RECORD:
        return part
    source, sha256 = record(Source.parse(part.source))
    return Part(source=str(source), sha256=sha256)


def _read(path: Path) -> dict[str, Part]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path}: not valid JSON ({error}); delete it to record the weights again") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected an object; delete it to record the weights again")
    return {str(source): from_mapping(Part, part, where=f"{path}: {source}") for source, part in values.items()}
