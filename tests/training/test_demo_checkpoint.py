"""The shipped demo: it fits its parts on paper, is what its recipe makes, and its card shows its own scores."""

import json
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint
from training.evaluation import Score, markdown
from training.recipe import read_recipe
from training.refit import Scale, fitted_scales

DEMO = Path(__file__).resolve().parents[2] / "model" / "demo"
RECIPE = read_recipe(Path("demo"))
# Of each training and of the refit after it, from the last to the first.
COMMANDS = [
    (
        "quartet train things.yaml --corpus corpus --start polished --output things",
        "quartet refit things words.yaml --corpus corpus --output demo",
    ),
    ("quartet train polish.yaml --corpus corpus --start sharp-things --output polished", None),
    (
        "quartet refit refitted sharper.yaml --corpus corpus --output sharp-things",
        "quartet refit refitted sharper.yaml --corpus corpus --output sharp-things",
    ),
    (
        "quartet average soft sharp --output mean",
        "quartet refit mean demo --corpus corpus --output refitted",
    ),
]


def test_it_is_made_of_the_parts_of_its_recipe():
    checkpoint = Checkpoint.open(DEMO)
    assert checkpoint.provenance.llm == RECIPE.llm
    assert checkpoint.provenance.encoders == {name: modality.part for name, modality in RECIPE.modalities.items()}
    for name, spec in checkpoint.config.modality_specs.items():
        assert spec.tokens == 4
        assert spec.encoder.family == RECIPE.modalities[name].encoder["family"]


def history() -> list[dict[str, Any]]:
    """What was done, from the last to the first."""
    records = [json.loads((DEMO / "provenance.json").read_text())["training"]]
    while "start" in records[-1]:
        records.append(records[-1]["start"])
    return records


def test_it_is_known_how_it_was_made() -> None:
    assert [(record["command"], record.get("refit", {}).get("command")) for record in history()] == COMMANDS


def test_its_sample_counts_are_those_of_the_recipe() -> None:
    things, polish, _, first = history()
    assert len(first["average"]) == 2
    runs = [(run, ("align", "refine")) for run in first["average"]]
    for record, names in (*runs, (polish, ("polish",)), (things, ("things",))):
        stages = [stage for stage in RECIPE.stages if stage.name in names]
        assert set(record["samples"]) == {f"{stage.name}/{m.source}" for stage in stages for m in stage.data}


def test_its_scores_were_fitted_again_as_the_recipe_says() -> None:
    checkpoint = Checkpoint.open(DEMO)
    scales = fitted_scales(checkpoint.provenance.training)
    for name, modality in RECIPE.modalities.items():
        wanted = {index: c.refit for index, c in enumerate(modality.initialisation.concepts) if c.refit}
        assert wanted
        assert scales[name] == {index: Scale(refit.sharpness, refit.silence) for index, refit in wanted.items()}
        units = sum(refit.units for refit in wanted.values())
        assert checkpoint.config.modalities[name]["projector"].get("score_size", 0) == units


def test_its_card_and_table_show_the_recorded_scores():
    values = json.loads((DEMO / "scores.json").read_text())
    scores = [Score(**{key: v for key, v in value.items() if key not in ("ratio", "interval")}) for value in values]
    rows = markdown(scores).splitlines()[2:]
    for document in ("README.md", "scores.md"):
        text = (DEMO / document).read_text()
        missing = [row for row in rows if row not in text]
        assert missing == []


def test_it_holds_no_path_of_the_machine_it_was_made_on():
    for path in DEMO.glob("*.json"):
        text = path.read_text()
        assert str(Path.home()) not in text
        assert '"/' not in text
