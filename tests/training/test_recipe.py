"""Recipes: what stands in the file is what is trained, and what is wrong is named by file and key."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import ConfigurationError
from tests.support.tiny import ENCODERS
from tests.training.parts import recipe_values, write_recipe
from training.concepts import read_names
from training.recipe import RECIPES, read_recipe


@pytest.fixture
def values(parts: Path) -> dict[str, Any]:
    return recipe_values(parts)


@pytest.fixture
def write(tmp_path: Path, values: dict[str, Any]) -> Callable[..., Path]:
    def change(place: str = "", value: Any = None) -> Path:
        changed = deepcopy(values)
        target: Any = changed
        *path, last = place.split("/") if place else [""]
        for key in path:
            target = target[int(key) if isinstance(target, list) else key]
        if place:
            target[int(last) if isinstance(target, list) else last] = value
        return write_recipe(tmp_path / "mine.yaml", changed)

    return change


def test_relative_sources_start_at_the_recipe(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# two of them\ncat\n\n dog \n")
    concepts = [{"names": "names.txt", "per_class": 3}]
    recipe = read_recipe(write("modalities/image/initialisation/concepts", concepts))
    assert recipe.llm.source == f"file:{tmp_path / 'llm'}"
    assert recipe.modalities["audio"].part.source == f"file:{tmp_path / 'audio.safetensors'}"
    assert read_names(Path(recipe.modalities["image"].initialisation.concepts[0].names or "")) == ["cat", "dog"]
    assert recipe.sources == ["scenes", "tones", "dialogs"]


def test_every_shipped_recipe_is_read_by_its_name() -> None:
    for path in RECIPES.glob("*.yaml"):
        recipe = read_recipe(Path(path.stem))
        for modality in recipe.modalities.values():
            for concepts in modality.initialisation.concepts:
                if concepts.names:
                    names = read_names(Path(concepts.names))
                    assert len(set(names)) == len(names) == 1000


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("demo")).stages


def test_the_entry_of_a_modality_knows_its_groups(write: Callable[..., Path]) -> None:
    modality = read_recipe(write("modalities/image/placeholder", "<|see|>")).modalities["image"]
    entry = modality.entry([3])
    assert entry["projector"]["groups"] == [3]
    assert entry["placeholder"] == "<|see|>"
    assert "groups" not in modality.projector


IMAGE, STAGE = "modalities/image", "stages/0"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("epochs", 3, "unknown key 'epochs'; known keys are adapter, compile, dtype, llm"),
        ("llm", "smollm", "llm: expected a mapping, got str"),
        ("llm/revision", "main", "llm: unknown key 'revision'; known keys are sha256, source"),
        ("llm", {"source": "file:llm"}, "llm: missing key 'sha256'"),
        ("dtype", "int8", "dtype: 'int8' is not one of auto, bfloat16, float16, float32"),
        ("compile", "yes please", "compile: expected bool, got 'yes please'"),
        ("modalities", [], r"modalities: expected dict.*, got \[\]"),
        ("modalities", {}, "stages, modalities: a recipe needs both"),
        ("stages", [], "stages, modalities: a recipe needs both"),
        (f"{IMAGE}/encoders", {}, r"modalities\.image: unknown key 'encoders'"),
        (f"{IMAGE}/encoder", {"family": "vgg"}, r"modalities\.image\.encoder\.family: 'vgg' is not one of"),
        (f"{IMAGE}/encoder", {"family": "whisper"}, r"modalities\.image\.encoder\.family: encodes audio, not image"),
        (f"{IMAGE}/encoder/size", 1, r"modalities\.image\.encoder: unknown key 'size'"),
        (f"{IMAGE}/projector/type", "qformer", r"modalities\.image\.projector\.type: 'qformer' is not one"),
        (
            f"{IMAGE}/encoder",
            {**ENCODERS["clip"], "features": "patches"},
            "image.projector.type: mlp makes 2 .* gives 16",
        ),
        (f"{IMAGE}/projector/tokens", 0, r"modalities\.image\.projector\.tokens: 0 is outside"),
        (f"{IMAGE}/projector/groups", [3], r"modalities\.image\.projector\.groups: are the sizes of initialisation"),
        (f"{IMAGE}/projector/activation", "gelu", r"modalities\.image\.projector\.groups: .* goes with .* softmax"),
        (f"{IMAGE}/initialisation", "names", r"modalities\.image\.initialisation: expected a mapping, got str"),
        (f"{IMAGE}/initialisation/type", "magic", r"initialisation\.type: 'magic' is not one of names, random, ridge"),
        (f"{IMAGE}/initialisation/type", "ridge", r"initialisation\.concepts: go with type names"),
        (f"{IMAGE}/initialisation/concepts", [], r"initialisation\.concepts: go with type names"),
        (f"{IMAGE}/initialisation/concepts", {"tasks": ["t"]}, r"initialisation\.concepts: expected list"),
        (f"{IMAGE}/initialisation/concepts/0", {}, r"concepts\[0\]\.names: give either names or tasks"),
        (f"{IMAGE}/initialisation/concepts/0/name", "x", r"concepts\[0\]: unknown key 'name'"),
        (f"{IMAGE}/initialisation/concepts/0/slot", 2, r"concepts\[0\]\.slot: 2 is outside 0\.\.1"),
        (f"{IMAGE}/initialisation/concepts/0/per_class", 5, r"concepts\[0\]\.per_class: goes with names"),
        (f"{IMAGE}/initialisation/concepts/0/mixed", 0.5, r"concepts\[0\]\.mixed: goes with two tasks or more"),
        (
            f"{IMAGE}/initialisation/concepts",
            [{"tasks": ["a"], "behind": "b"}],
            r"initialisation\.concepts\[0\]\.behind: b is no task of another group",
        ),
        (
            f"{IMAGE}/initialisation/concepts",
            [{"tasks": ["a"], "behind": "a"}],
            r"initialisation\.concepts\[0\]\.behind: a is no task of another group",
        ),
        (
            f"{IMAGE}/initialisation/concepts",
            [{"tasks": ["a"], "behind": "b"}, {"tasks": ["b"], "silent": False}],
            r"concepts\[0\]\.behind: the group of b must be one that may be silent",
        ),
        (
            f"{IMAGE}/initialisation/concepts",
            [{"tasks": ["a"], "behind": "b"}, {"tasks": ["b"], "behind": "c"}, {"tasks": ["c"]}],
            r"concepts\[0\]\.behind: the group of b must be one that .* is behind none",
        ),
        (f"{IMAGE}/initialisation/concepts/0", {"names": "no.txt"}, r"\[0\]\.names: .*no\.txt does not exist"),
        (f"{STAGE}/name", "a/b", r"stages\[0\]\.name: 'a/b' names a folder"),
        (f"{STAGE}/optimizer", "sgd", r"stages\[0\]: unknown key 'optimizer'"),
        (f"{STAGE}/learning_rates", {}, r"stages\[0\]\.data, learning_rates: a stage needs both"),
        (f"{STAGE}/learning_rates", {"*": "fast"}, r"stages\[0\]\.learning_rates: expected dict.*, got"),
        (f"{STAGE}/learning_rates", {"*": -1.0}, r"stages\[0\]\.learning_rates\.\*: -1\.0 is outside 0\.0\.\."),
        (f"{STAGE}/max_length", 8, r"stages\[0\]\.max_length: 8 is outside 16\.\."),
        (f"{STAGE}/batch_tokens", 100, r"stages\[0\]\.batch_tokens: 100 is outside 128\.\."),
        (
            f"{STAGE}/concepts",
            ["scenes/size"],
            r"stage \w+: concepts: no group .* scenes/size; there are",
        ),
        (f"{STAGE}/noise", {"scenes/size": 0.5}, r"stage \w+: noise: no group of concepts is asked for by scenes/size"),
        (f"{STAGE}/noise", {"scenes/colour": 2.0}, r"stages\[0\]\.noise\.scenes/colour: 2\.0 is outside"),
        (f"{STAGE}/noise", 0.5, r"stages\[0\]\.noise: expected bool or dict.*, got 0\.5"),
        (f"{STAGE}/warmup", 0.9, r"stages\[0\]\.warmup: 0\.9 is outside 0\.0\.\.0\.5"),
        (f"{STAGE}/data", [], r"stages\[0\]\.data, learning_rates: a stage needs both"),
        (f"{STAGE}/data/1", "tones", r"stages\[0\]\.data\[1\]: expected a mapping, got str"),
        (f"{STAGE}/data/1/share", 2, r"stages\[0\]\.data\[1\]: unknown key 'share'; known keys are on_problem, passes"),
        (f"{STAGE}/data/1/weight", 2, r"stages\[0\]\.data\[1\]\.weight: goes instead of passes; give one of them"),
        (
            f"{STAGE}/data/1",
            {"source": "t", "weight": 0},
            r"data\[1\]\.weight: 0 takes no sample of t; give a number abov",
        ),
        (f"{STAGE}/data/1", {"source": "t", "weight": -2.0}, r"data\[1\]\.weight: -2\.0 takes no sample of t"),
        (f"{STAGE}/data/1", {"source": "t", "weight": float("nan")}, r"data\[1\]\.weight: nan takes no sample of t"),
        (f"{STAGE}/data/1", {"source": "t", "weight": 2}, r"stages\[0\]\.data: scenes has no weight, others have"),
        (f"{STAGE}/data/1/on_problem", "ignore", r"data\[1\]\.on_problem: expected .*, got 'ignore'"),
        (f"{STAGE}/samples", 9, r"stages\[0\]\.samples: goes with weights"),
        (f"{STAGE}/epochs", 0, r"stages\[0\]\.epochs: 0 is outside"),
        (f"{STAGE}/steps", 0, r"stages\[0\]\.steps: 0 is outside"),
        (f"{STAGE}/batch_rows", 4, r"stages\[0\]\.batch_rows: goes instead of batch_tokens"),
        (f"{STAGE}/accumulation", 0, r"stages\[0\]\.accumulation: 0 is outside"),
        (f"{STAGE}/schedule", "step", r"stages\[0\]\.schedule: 'step' is not one of constant, cosine, linear"),
        (f"{STAGE}/betas", [0.9], r"stages\[0\]\.betas: expected two numbers"),
        (f"{STAGE}/betas", [0.9, 1.0], r"stages\[0\]\.betas: 1\.0 is outside"),
        (f"{STAGE}/max_norm", 0, r"stages\[0\]\.max_norm: 0 is outside"),
        (f"{STAGE}/save_steps", 0, r"stages\[0\]\.save_steps: 0 is outside"),
        (f"{STAGE}/keep", 0, r"stages\[0\]\.keep: 0 is outside"),
        (f"{STAGE}/learning_rates", {"projectors": 0.0}, r"stages\[0\]\.data, learning_rates: a stage needs both"),
        (f"{STAGE}/validation", {}, r"stages\[0\]\.validation\.share, sources: a validation needs one of them"),
        (f"{STAGE}/validation", {"share": 0.9}, r"stages\[0\]\.validation\.share: 0\.9 is outside 0\.0\.\.0\.5"),
        (f"{STAGE}/validation", {"share": 0.1, "metric": "bleu"}, r"validation\.metric: 'bleu' is not one of accuracy"),
        (f"{STAGE}/validation", {"share": 0.1, "patience": 0}, r"validation\.patience: 0 is outside"),
        (f"{STAGE}/validation", {"shares": 0.1}, r"stages\[0\]\.validation: unknown key 'shares'"),
        ("parallel", {"type": "zero"}, r"parallel\.type: 'zero' is not one of deepspeed, fsdp"),
        ("parallel", {"type": "deepspeed", "wrap": ["Layer"]}, r"parallel\.wrap: goes with type fsdp"),
        ("parallel", {"type": "fsdp", "stage": 3}, r"parallel: unknown key 'stage'"),
        (f"{STAGE}/data/1/passes", 0, r"stages\[0\]\.data\[1\]\.passes: 0 is outside"),
        (f"{STAGE}/data/1/source", "scenes", r"stages\[0\]\.data: a source stands there twice: scenes, scenes"),
        (f"{STAGE}/data/1/source", "concepts", "source concepts needs a group of concepts with per_class"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(
    write: Callable[..., Path], place: str, value: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^mine\.yaml(: |\.).*{message}"):
        read_recipe(write(place, value))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            f"{STAGE}/weight_decay",
            0.1,
            r"stages\[0\]\.weight_decay: would change the groups that",
        ),
        ("parallel", {"type": "fsdp"}, "stage align: concepts: cannot be chosen where `parallel` shards them"),
    ],
)
def test_what_goes_not_with_some_groups_alone_is_named(
    write: Callable[..., Path], values: dict[str, Any], place: str, value: Any, message: str
) -> None:
    values["stages"][0]["concepts"] = ["scenes/colour"]
    assert read_recipe(write()).stages[0].concepts == ["scenes/colour"]
    with pytest.raises(ConfigurationError, match=message):
        read_recipe(write(place, value))


def test_a_stage_may_have_noise_of_its_own(values: dict[str, Any], write: Callable[..., Path]) -> None:
    values["modalities"]["image"]["initialisation"]["concepts"] = [
        {"tasks": ["a"], "noise": 0.2},
        {"tasks": ["b", "c"]},
        {"tasks": ["d"]},
    ]
    values["stages"].append({**values["stages"][0], "name": "second", "noise": {"c": 0.5, "tones/pitch": 0.1}})
    values["stages"].append({**values["stages"][0], "name": "third", "noise": False})
    values["stages"].append({**values["stages"][0], "name": "fourth", "noise": {}})
    recipe = read_recipe(write())
    shares = {stage.name: {name: recipe.noise(stage, name) for name in recipe.modalities} for stage in recipe.stages}
    assert shares == {
        "align": {"image": [0.2, 0.0, 0.0], "audio": [0.0]},
        "second": {"image": [0.2, 0.5, 0.0], "audio": [0.1]},
        "third": {"image": [0.0, 0.0, 0.0], "audio": [0.0]},
        "fourth": {"image": [0.2, 0.0, 0.0], "audio": [0.0]},
    }


def test_a_rate_may_be_written_as_people_write_it(write: Callable[..., Path]) -> None:
    path = write(f"{STAGE}/learning_rates", {"projectors": "RATE"})
    path.write_text(path.read_text().replace("RATE", "1e-3"))
    assert read_recipe(path).stages[0].learning_rates == {"projectors": 0.001}


def test_a_key_that_stands_there_twice_is_refused(write: Callable[..., Path]) -> None:
    path = write()
    path.write_text(path.read_text() + "seed: 1\n")
    with pytest.raises(ConfigurationError, match=r"mine\.yaml: not valid YAML \(key 'seed' stands there twice"):
        read_recipe(path)


def test_a_source_has_one_policy_and_an_adapter_for_media_needs_a_frozen_model(
    write: Callable[..., Path], values: dict[str, Any]
) -> None:
    second = {**deepcopy(values["stages"][0]), "name": "tune"}
    second["data"][0]["on_problem"] = "skip"
    with pytest.raises(ConfigurationError, match="source scenes has two on_problem policies"):
        read_recipe(write("stages", [*values["stages"], second]))
    values["adapter"] = {"scope": "media"}
    with pytest.raises(ConfigurationError, match=r"adapter\.scope: media leaves text-only answers as they are, but a"):
        read_recipe(
            write_recipe(write(), {**values, "stages": [{**values["stages"][0], "learning_rates": {"llm": 1}}]})
        )


def test_what_a_recipe_trains_is_known_from_its_rates(write: Callable[..., Path]) -> None:
    frozen = read_recipe(write())
    assert (frozen.trains_llm, frozen.trained_encoders) == (False, [])
    trained = read_recipe(write(f"{STAGE}/learning_rates", {"projectors": 1e-3, "llm": 1e-5, "encoders.image": 1e-6}))
    assert (trained.trains_llm, trained.trained_encoders) == (True, ["image"])


def test_two_stages_must_not_share_a_name(write: Callable[..., Path], values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="stages: two of them share a name: align, align"):
        read_recipe(write("stages", values["stages"] * 2))


@pytest.mark.parametrize("content", ["stages: [", "\xff\xfe".encode("latin-1").decode("latin-1"), "- just\n- a list\n"])
def test_what_is_no_recipe_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"bad\.yaml: (not valid YAML|expected a mapping)"):
        read_recipe(path)


def test_an_unknown_name_lists_the_shipped_recipes(tmp_path: Path) -> None:
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    with pytest.raises(ConfigurationError, match=rf"llava-9\.yaml: cannot be read .*; shipped recipes are {shipped}"):
        read_recipe(Path("llava-9"))
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        read_recipe(tmp_path / "none.yaml")


def test_recipes_begin_with_the_command_that_runs_them() -> None:
    for path in RECIPES.glob("*.yaml"):
        text = path.read_text()
        assert f"quartet train {path.stem} " in text
        assert isinstance(yaml.safe_load(text), dict)
