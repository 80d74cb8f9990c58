"""Sweep files: what they mean, and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import ConfigurationError
from tests.training.parts import recipe_values, write_recipe
from training.ablation.subset import Subset
from training.ablation.sweep import SWEEPS, Setting, Sweep, read_sweep

Write = Callable[..., Sweep]


@pytest.fixture
def write(parts: Path, tmp_path: Path) -> Write:
    """A sweep file around the tiny recipe, read."""
    write_recipe(parts / "swept.yaml", recipe_values(parts))

    def build(name: str = "sweep", **values: Any) -> Sweep:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"recipe": str(parts / "swept.yaml"), **values}, sort_keys=False))
        return read_sweep(path)

    return build


def test_the_precision_that_auto_is_here_tells_trials_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    subset = Subset([], [], None, 1.0, None)
    setting = Setting(sweep="a", labels={}, recipe={"dtype": "auto"}, folder="", subset=subset)
    found = set()
    for fast in ("bfloat16", "float32"):
        monkeypatch.setattr("training.ablation.sweep.resolve", lambda dtype, fast=fast: fast)
        found.add(setting.seeded(0).identity(""))
    assert len(found) == 2


def test_the_settings_are_all_combinations(write: Write) -> None:
    sweep = write(
        axes={
            "tokens": {"key": "modalities.*.projector.tokens", "values": [2, 4]},
            "start": {"names": {}, "half": {"share": 0.5, "stages.*.learning_rates": {"projectors.*": 0.1}}},
        }
    )
    settings = sweep.settings()
    assert [setting.name for setting in settings] == [
        "tokens 2, start names",
        "tokens 2, start half",
        "tokens 4, start names",
        "tokens 4, start half",
    ]
    last = settings[-1]
    assert {modality["projector"]["tokens"] for modality in last.recipe["modalities"].values()} == {4}
    assert last.recipe["stages"][0]["learning_rates"] == {"projectors.*": 0.1}
    assert [setting.subset.share for setting in settings] == [1.0, 0.5, 1.0, 0.5]
    assert last.subset.sources == ["scenes", "tones", "dialogs"]


def test_a_base_counts_where_the_sweep_is_silent(write: Write, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"test": 3, "seeds": [7], "changes": {"dtype": "float32", "compile": True}})
    )
    sweep = write(base="base.yaml", seeds=[1, 2], changes={"compile": False})
    assert (sweep.test, sweep.seeds) == (3, [1, 2])
    assert sweep.changes == {"dtype": "float32", "compile": False}
    assert sweep.settings()[0].name == "base"


def test_equal_settings_are_the_same_trial_whatever_they_are_called(write: Write) -> None:
    one = write("one", axes={"tokens": {"key": "modalities.*.projector.tokens", "values": [2, 4]}}).settings()
    two = write("two", axes={"size": {"small": {}, "large": {"modalities.*.projector.tokens": 4}}}).settings()
    names = [[s.seeded(seed).identity("samples") for s in settings for seed in (0, 1)] for settings in (one, two)]
    assert names[0] == names[1]
    assert len(set(names[0])) == 4
    assert one[0].identity("samples") != one[0].identity("other samples")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sedes": [1]}, r"sweep.yaml: unknown key 'sedes'"),
        ({"folder": "x"}, r"sweep.yaml: unknown key 'folder'"),
        ({"seeds": []}, r"seeds: \[\] must be at least one"),
        ({"seeds": [1, 1]}, "none of them twice"),
        ({"share": 0}, "share: 0 is outside"),
        ({"test": 0}, "test: 0 is outside"),
        ({"x": "price"}, "x: 'price' is not one of"),
        ({"axes": {"a": [1, 2]}}, r"axes\.a: expected a mapping of labels"),
        ({"axes": {"a": {"key": "seed", "values": [1, 1]}}}, r"axes\.a: .* none of them twice"),
        ({"axes": {"a": {"b": {}}}, "baseline": {"a": "c"}}, r"baseline\.a: 'c' is no label"),
        ({"base": "sweep.yaml"}, "is not another sweep file"),
        ({"base": "missing.yaml"}, r"missing\.yaml: cannot be read .*shipped sweeps are .*tokens"),
        ({"recipe": "nowhere.yaml"}, r"nowhere\.yaml: cannot be read .*shipped recipes are .*demo"),
        ({"axes": {"a": {"b": {"share": 2}}}}, "sweep: a b: share: 2 is not above 0"),
        ({"axes": {"a": {"b": {"share": True}}}}, "share: True"),
        (
            {"axes": {"a": {"b": {"modalities.*.projector.tokens": 0}}}},
            r"sweep: a b: modalities.\w+.projector.tokens: 0",
        ),
        ({"changes": {"stages.5.name": "x"}}, "sweep: base: 'stages.5.name' leads nowhere"),
    ],
)
def test_what_is_wrong_is_named(write: Write, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write(**values).settings()


def test_no_sweep_at_all_is_named(tmp_path: Path) -> None:
    for text, message in (("[1]", "expected a mapping"), ("a: [", "not valid YAML"), ("{}", "missing key 'recipe'")):
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            read_sweep(tmp_path / "s.yaml")


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_setting_of_the_shipped_sweeps_is_a_recipe(path: Path) -> None:
    settings = read_sweep(Path(path.stem)).settings()
    assert settings
    assert path.read_text().count(f"#   quartet ablate {path.stem} ") == 1, "it opens with the command that runs it"


def test_the_shipped_sweeps_vary_what_they_should() -> None:
    assert set(read_sweep(Path("tokens")).axis("tokens")) == {"1", "2", "4", "8", "16"}
    assert set(read_sweep(Path("data")).axis("share")) == {"0.1", "0.25", "0.5", "1.0"}
    assert set(read_sweep(Path("data")).axis("start")) == {"random", "ridge", "names"}
    # What several sweeps ask for is trained once.
    together = [s.identity("") for name in ("data", "tokens", "tuning") for s in read_sweep(Path(name)).settings()]
    assert len(set(together)) == len(together) - 2
