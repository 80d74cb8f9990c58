"""The shipped demo: it fits its parts on paper, is what its recipe makes, and its card shows its own scores."""

import json
from pathlib import Path

from model.checkpoint import Checkpoint
from training.evaluation import Score, markdown
from training.recipe import read_recipe

DEMO = Path(__file__).resolve().parents[2] / "model" / "demo"
RECIPE = read_recipe(Path("demo"))


def test_it_is_made_of_the_parts_of_its_recipe():
    checkpoint = Checkpoint.open(DEMO)
    assert checkpoint.provenance.llm == RECIPE.llm
    assert checkpoint.provenance.encoders == {name: modality.part for name, modality in RECIPE.modalities.items()}
    for name, spec in checkpoint.config.modality_specs.items():
        assert spec.tokens == 4
        assert spec.encoder.family == RECIPE.modalities[name].encoder["family"]


def test_its_sample_counts_are_those_of_the_recipe():
    record = json.loads((DEMO / "provenance.json").read_text())["training"]
    assert record["command"] == "quartet average soft sharp --output mean"
    assert len(record["average"]) == 2
    for trained in record["average"]:
        names = {f"{stage.name}/{mixture.source}" for stage in RECIPE.stages for mixture in stage.data}
        assert set(trained["samples"]) == names


def test_its_scores_were_fitted_again_as_the_recipe_says():
    checkpoint = Checkpoint.open(DEMO)
    record = checkpoint.provenance.training["refit"]
    assert record["command"] == "quartet refit mean demo --corpus corpus --output refitted"
    assert set(record["media"]) == {"image", "audio"}
    for name, modality in RECIPE.modalities.items():
        wanted = [concepts.refit for concepts in modality.initialisation.concepts if concepts.refit]
        units = sum(refit.units for refit in wanted)
        assert wanted
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
