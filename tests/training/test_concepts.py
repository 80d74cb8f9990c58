"""Groups of concepts from labelled media: what they name, and what they stay silent about."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import ConfigurationError, DataError
from training.concepts import NOTHING, concept_group, concept_groups, dreamed_samples, gates
from training.data import MediaRef, Sample
from training.initialisation import Concepts, Initialisation, Refit
from training.parts import Parts
from training.recipe import ModalityRecipe, Recipe

DIM = 8
CENTRES = {"red": 0, "blue": 1, "round": 2, "a dog": 3, "a cat": 4}


class Cache:
    """Features by name of the file: the thing it shows stands before the dash."""

    config: Any = None

    def stack(self, references: Sequence[MediaRef]) -> torch.Tensor:
        rows = []
        for reference in references:
            name, number = reference.path.stem.split("-")
            noise = torch.randn(DIM, generator=torch.Generator().manual_seed(int(number)))
            rows.append((5 * torch.eye(DIM)[CENTRES[name]] + 0.3 * noise)[None])
        return torch.stack(rows)


def shown(task: str, thing: str, number: int, label: str | None = None) -> Sample:
    meta = {"task": task} | ({"label": label} if label else {})
    turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": thing}]
    media = [MediaRef("image", Path(f"{thing}-{number}.png"))]
    return Sample(id=f"{task}/{number}", messages=turn, media=media, meta=meta)


@pytest.fixture
def samples() -> dict[str, list[Sample]]:
    numbers = iter(range(1000))
    scenes = [shown("scenes/colour", c, next(numbers), c) for _ in range(20) for c in ("red", "blue")]
    # Of the same source: they may well have a colour, it is just not asked for.
    scenes += [shown("scenes/shape", "round", next(numbers), "round") for _ in range(20)]
    animals = [shown("animals/name", a, next(numbers), a) for _ in range(20) for a in ("a dog", "a cat")]
    return {"scenes": scenes, "animals": animals}


def parts(samples: dict[str, list[Sample]], *groups: Concepts) -> Parts:
    modality = object.__new__(ModalityRecipe)
    object.__setattr__(modality, "initialisation", Initialisation(type="names", concepts=list(groups)))
    recipe = object.__new__(Recipe)
    object.__setattr__(recipe, "modalities", {"image": modality})
    object.__setattr__(recipe, "seed", 0)
    return Parts(recipe, Path(), {"image": Path()}, {"image": Cache()}, samples)  # type: ignore[dict-item]


def test_a_group_names_its_own_and_is_silent_about_other_sources(samples: dict[str, list[Sample]]) -> None:
    made = parts(samples, Concepts(tasks=["scenes/colour"], slot=1, sharpness=3.0))
    (group,) = concept_groups(made, "image")
    assert sorted(name for name in group.names if name) == ["blue", "red"]
    assert group.names.count(None) == 1
    assert NOTHING not in group.names
    assert group.slot == 1
    for thing, said in (("red", "red"), ("blue", "blue"), ("a dog", None), ("a cat", None)):
        scores = Cache().stack([MediaRef("image", Path(f"{thing}-999.png"))])[:, 0] @ group.weight.T + group.bias
        assert group.names[int(scores.argmax())] == said


def test_a_group_is_silent_about_synthetic_media(samples: dict[str, list[Sample]]) -> None:
    dreams = [shown("concepts/image", "a dog", number) for number in range(20)]
    made = parts({"scenes": samples["scenes"]}, Concepts(tasks=["scenes/colour"]))
    (group,) = concept_groups(made, "image", dreams)
    assert group.names.count(None) == 1
    scores = Cache().stack([MediaRef("image", Path("a dog-999.png"))])[:, 0] @ group.weight.T + group.bias
    assert group.names[int(scores.argmax())] is None


def test_a_group_behind_another_has_its_nothing_as_gate(samples: dict[str, list[Sample]]) -> None:
    own = Concepts(tasks=["animals/name"], behind="scenes/colour", silent=False)
    made = parts(samples, own, Concepts(tasks=["scenes/colour"]))
    animals, colours = concept_groups(made, "image")
    initialisation = made.recipe.modalities["image"].initialisation
    assert gates(initialisation, [animals, colours]) == [2 + colours.names.index(None), -1]
    assert gates(replace(initialisation, concepts=[replace(own, behind=None)]), [animals]) == []
    always = replace(colours, names=["red", "blue", "green"])
    with pytest.raises(DataError, match=r"concepts\[0\]\.behind: .* no media that the group of scenes/colour could be"):
        gates(initialisation, [animals, always])


def test_a_group_that_may_not_be_silent_names_only_its_own(samples: dict[str, list[Sample]]) -> None:
    (group,) = concept_groups(parts(samples, Concepts(tasks=["scenes/colour"], silent=False)), "image")
    assert group.names == ["blue", "red"]


def test_sharpness_multiplies_the_scores(samples: dict[str, list[Sample]]) -> None:
    plain, sharp = (Concepts(tasks=["scenes/colour"], sharpness=value) for value in (1.0, 2.0))
    first, second = concept_groups(parts(samples, plain, sharp), "image")
    torch.testing.assert_close(second.weight, 2 * first.weight)
    torch.testing.assert_close(second.bias, 2 * first.bias)


def test_a_group_that_is_fitted_again_may_speak_sooner(samples: dict[str, list[Sample]]) -> None:
    linear, sooner, deep = (Concepts(tasks=["scenes/colour"], refit=refit) for refit in (
        Refit(sharpness=2.0), Refit(sharpness=2.0, silence=-30.0), Refit(units=32)
    ))  # fmt: skip
    made = parts(samples, linear, sooner, deep)
    first, second, third = (concept_group(made, "image", index, refit=True) for index in range(3))
    assert first.names == second.names == third.names
    torch.testing.assert_close(first.weight, second.weight)
    silent = first.names.index(None)
    difference = second.bias - first.bias
    assert difference[silent] == -60.0
    assert difference.count_nonzero() == 1
    plain = concept_group(made, "image", 0)
    torch.testing.assert_close(first.weight, 2 * plain.weight)
    assert third.units is not None
    features = Cache().stack([MediaRef("image", Path(f"{thing}-999.png")) for thing in ("red", "blue", "a cat")])[:, 0]
    hidden = torch.nn.functional.gelu(features @ third.units[0].T + third.units[1])
    said = (hidden @ third.weight.T + third.bias).argmax(dim=1)
    assert [third.names[index] for index in said.tolist()] == ["red", "blue", None]


def test_what_it_is_silent_about_may_be_chosen(samples: dict[str, list[Sample]]) -> None:
    samples["noise"] = [shown("noise/name", "round", number, None) for number in range(900, 920)]
    named = Concepts(tasks=["scenes/colour"], refit=Refit(silent_about=["noise"], others=1.0))
    group = concept_group(parts(samples, named), "image", 0, refit=True)
    features = Cache().stack([MediaRef("image", Path(f"{thing}-999.png")) for thing in ("round", "a dog")])[:, 0]
    scores = (features @ group.weight.T + group.bias).softmax(dim=1)[:, group.names.index(None)]
    assert scores[0] > 0.6, "its pictures were shown"
    assert scores[1] < scores[0], "a dog's were not"


@pytest.mark.parametrize("folder", ["0", "z"])
def test_where_the_files_lie_changes_nothing(samples: dict[str, list[Sample]], folder: str) -> None:
    """Dreams are written to the folder of the run, before or behind the corpus in the alphabet."""

    def dreams(place: str) -> list[Sample]:
        made = [shown("concepts/image", "round", number) for number in range(20)]
        return [replace(one, media=[replace(m, path=Path(place) / m.path) for m in one.media]) for one in made]

    def fit(dreamed: list[Sample]) -> torch.Tensor:
        return concept_groups(parts(samples, Concepts(tasks=["scenes/colour"])), "image", dreamed)[0].weight

    assert torch.equal(fit(dreams(folder)), fit(dreams("m")))


def test_one_group_may_gather_several_tasks(samples: dict[str, list[Sample]]) -> None:
    (group,) = concept_groups(parts(samples, Concepts(tasks=["scenes/colour", "scenes/shape"])), "image")
    assert sorted(name for name in group.names if name) == ["blue", "red", "round"]


def test_samples_with_two_media_or_without_a_label_do_not_count(samples: dict[str, list[Sample]]) -> None:
    one, two = shown("scenes/size", "red", 0), shown("scenes/size", "red", 1, "big")
    pair = Sample(id="p", messages=two.messages, media=[*one.media, *two.media], meta=two.meta)
    samples["scenes"] += [one, pair]
    with pytest.raises(DataError, match=r"concepts\[0\]\.tasks: no sample of scenes/size has one image and a label"):
        concept_groups(parts(samples, Concepts(tasks=["scenes/size"])), "image")


def test_without_classes_of_its_own_an_encoder_gives_no_names(samples: dict[str, list[Sample]]) -> None:
    made = parts(samples, Concepts(names="names.txt"))
    made.caches["image"].config = type("Config", (), {"classifier": lambda self, weights: None})()
    with pytest.raises(ConfigurationError, match=r"image\.initialisation\.concepts\[0\]\.names: this encoder has no"):
        concept_groups(made, "image")


def test_synthetic_media_need_real_ones_to_begin_from(samples: dict[str, list[Sample]], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a dog\na cat\n")
    made = parts({}, Concepts(names=str(names), per_class=2))
    head = torch.eye(DIM)[3:5], torch.zeros(2)
    made.caches["image"].config = type("Config", (), {"classifier": lambda self, weights: head})()
    with pytest.raises(DataError, match=r"modalities\.image\.initialisation: per_class needs any image media"):
        dreamed_samples(made, tmp_path)
