"""Concepts that are not asked about: which of them are disturbed, how, and when."""

import dataclasses

import pytest
import torch
from torch import Tensor

from model.errors import ConfigurationError
from model.projectors.mlp import Mlp, MlpConfig
from training.initialisation import Concepts, Initialisation
from training.initialise import ConceptGroup
from training.noise import LEAST, UNKNOWN, ConceptNoise, concepts_apart, mix_concepts, random_concepts

# Of three groups, the first always names one, the others may say nothing.
NAMES: list[list[str | None]] = [["cat", "dog", "fox"], ["red", None, "blue"], [None, "one"]]
ROWS = 2000


@pytest.fixture
def projector() -> Mlp:
    config = MlpConfig(activation="softmax", groups=[3, 3, 2], tokens=1)
    module = config.build(dim=8, length=1, hidden_size=5)
    assert isinstance(module, Mlp)
    return module


def disturbed(
    projector: Mlp,
    shares: list[float],
    asked: list[int] | None,
    behind: str | None = None,
    later: list[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Concepts of as many random media as are asked about, without noise and with it; `later`: other shares since."""
    features = torch.randn(ROWS, 8)
    plain = projector.concepts(features)
    groups = [ConceptGroup(names, torch.zeros(len(names), 8), torch.zeros(len(names))) for names in NAMES]
    concepts = [Concepts(tasks=[f"task/{index}"], noise=share) for index, share in enumerate(shares)]
    concepts[0] = dataclasses.replace(concepts[0], behind=behind)
    noise = ConceptNoise(projector, groups, Initialisation(type="names", concepts=concepts), {})
    noise.asked = None if asked is None else torch.tensor(asked)
    if later is not None:
        noise.set_shares(later)
    return plain, projector.concepts(features)


def test_the_group_that_is_asked_about_stays_as_it_is(projector: Mlp) -> None:
    asked = [row % 3 for row in range(ROWS)]
    plain, noisy = disturbed(projector, [1.0, 1.0, 1.0], asked)
    for group, (start, end) in enumerate(((0, 3), (3, 6), (6, 8))):
        its = torch.tensor(asked) == group
        assert torch.equal(noisy[its, start:end], plain[its, start:end])
        assert (noisy[~its, start:end].max(dim=-1).values == 1).all()
    torch.testing.assert_close(noisy.sum(dim=-1), torch.full((ROWS,), 3.0))


def test_noise_names_every_concept_and_never_says_nothing(projector: Mlp) -> None:
    _, noisy = disturbed(projector, [0.0, 1.0, 0.0], [0] * ROWS)
    counts = noisy[:, 3:6].sum(dim=0)
    assert counts[1] == 0
    assert 0.4 < counts[0] / ROWS < 0.6


def test_a_share_of_the_media_is_disturbed(projector: Mlp) -> None:
    plain, noisy = disturbed(projector, [0.25, 0.0, 0.0], [1] * ROWS)
    changed = (noisy != plain).any(dim=-1)
    assert 0.2 < changed.float().mean() < 0.3
    assert torch.equal(noisy[:, 3:], plain[:, 3:]), "other groups have no noise"


def test_shares_may_change(projector: Mlp) -> None:
    plain, noisy = disturbed(projector, [1.0, 0.0, 0.0], [1] * ROWS, later=[0.0, 0.0, 0.25])
    changed = (noisy != plain).any(dim=-1)
    assert 0.2 < changed.float().mean() < 0.3
    assert torch.equal(noisy[:, :6], plain[:, :6])


def test_a_group_that_comes_first_is_left_alone_for_the_one_behind_it(projector: Mlp) -> None:
    asked = [row % 3 for row in range(ROWS)]
    plain, noisy = disturbed(projector, [1.0, 1.0, 1.0], asked, behind="task/1")
    of_first, of_third = torch.tensor(asked) == 0, torch.tensor(asked) == 2
    assert torch.equal(noisy[of_first, 3:6], plain[of_first, 3:6])
    assert (noisy[of_third, 3:6].max(dim=-1).values == 1).all()
    assert (noisy[of_first, 6:].max(dim=-1).values == 1).all(), "one of the others is disturbed"


@pytest.mark.parametrize("asked", [None, [UNKNOWN] * ROWS])
def test_nothing_is_disturbed_where_no_question_is_known(projector: Mlp, asked: list[int] | None) -> None:
    plain, noisy = disturbed(projector, [1.0, 1.0, 1.0], asked)
    assert torch.equal(plain, noisy)


def test_only_training_is_disturbed(projector: Mlp) -> None:
    plain, noisy = disturbed(projector.eval(), [1.0, 1.0, 1.0], [0] * ROWS)
    assert torch.equal(plain, noisy)


def test_what_is_disturbed_passes_no_gradient(projector: Mlp) -> None:
    _, noisy = disturbed(projector, [1.0, 0.0, 0.0], [1] * ROWS)
    (gradient,) = torch.autograd.grad(noisy[:, 0].sum(), projector.first.weight)
    assert not gradient.any()


def test_groups_know_the_tasks_that_ask_for_them() -> None:
    concepts = [Concepts(tasks=["a/colour", "b/colour"]), Concepts(names="names.txt"), Concepts(tasks=["a/kind"])]
    asked = Initialisation(type="names", concepts=concepts).asked("image")
    assert asked == {"a/colour": 0, "b/colour": 0, "a/kind": 2, "concepts/image": 1}


@pytest.mark.parametrize("nothing", [None, 0, 4])
def test_a_random_concept_has_all_the_probability(nothing: int | None) -> None:
    chosen = random_concepts(torch.full((500, 5), 0.2), nothing)
    assert torch.equal(chosen.sum(dim=-1), torch.ones(500))
    assert sorted(set(chosen.argmax(dim=-1).tolist())) == [index for index in range(5) if index != nothing]


# "seven" is a number in two languages, "eight" in one; "door" is a word.
WORDS: list[str | None] = ["seven", "door", None, "eight", "tujuh"]
LABELS = {"digits/en": {"seven", "eight"}, "digits/ms": {"seven", "tujuh"}, "words/en": {"door"}}


def test_concepts_are_apart_that_no_task_has_both_of() -> None:
    apart = concepts_apart(WORDS, list(LABELS.values()))
    pairs = {(WORDS[row], WORDS[column]) for row, column in apart.nonzero().tolist()}
    expected = [("door", "seven"), ("door", "eight"), ("door", "tujuh"), ("eight", "tujuh")]
    assert pairs == {*expected, *((b, a) for a, b in expected)}


def test_a_concept_that_is_apart_is_mixed_in_by_any_share() -> None:
    before = torch.tensor([[0.05, 0.8, 0.05, 0.1, 0.0]]).repeat(ROWS, 1)
    after = mix_concepts(before, concepts_apart(WORDS, list(LABELS.values())))
    torch.testing.assert_close(after.sum(dim=1), torch.ones(ROWS))
    shares = after[:, 1] / before[:, 1]
    assert LEAST <= shares.min() < LEAST + 0.05
    assert 0.95 < shares.max() <= 1
    gained = after > before * shares[:, None] + 1e-3
    assert gained.any(dim=0).tolist() == [True, False, False, True, True], "each of the others, never silence"
    assert (gained.sum(dim=1) <= 1).all(), "one at a time"


@pytest.mark.parametrize("best", [2, 0])
def test_silence_and_what_nothing_is_apart_from_stay_as_they_are(best: int) -> None:
    before = torch.full((20, 5), 0.05)
    before[:, best] = 0.8
    labels = list(LABELS.values()) if best == 2 else [{"seven", "door", "eight", "tujuh"}]
    assert torch.equal(mix_concepts(before, concepts_apart(WORDS, labels)), before)


def mixing(projector: Mlp, asked: list[int], labels: dict[str, set[str]]) -> tuple[Tensor, Tensor]:
    """Concepts of random media without noise, and where half of those that ask for the second group name two."""
    features = torch.randn(ROWS, 8)
    with torch.no_grad():
        # The second group is never silent.
        projector.first.bias[4] -= 20
    plain = projector.concepts(features)
    groups = [ConceptGroup(names, torch.zeros(len(names), 8), torch.zeros(len(names))) for names in NAMES]
    concepts = [Concepts(tasks=["a"]), Concepts(tasks=["b", "c"], mixed=0.5), Concepts(tasks=["d"])]
    noise = ConceptNoise(projector, groups, Initialisation(type="names", concepts=concepts), labels)
    noise.asked = torch.tensor(asked)
    return plain, projector.concepts(features)


def test_only_the_group_that_is_asked_about_names_two(projector: Mlp) -> None:
    asked = [row % 3 for row in range(ROWS)]
    plain, noisy = mixing(projector, asked, {"b": {"red"}, "c": {"blue"}})
    changed = (noisy != plain).any(dim=-1)
    assert not changed[torch.tensor(asked) != 1].any()
    assert 0.4 < changed[torch.tensor(asked) == 1].float().mean() < 0.6
    assert torch.equal(noisy[:, :3], plain[:, :3])
    assert torch.equal(noisy[:, 6:], plain[:, 6:])


def test_tasks_of_the_same_concepts_cannot_be_mixed(projector: Mlp) -> None:
    with pytest.raises(ConfigurationError, match=r"concepts\[1\].mixed: every two of its concepts share a task"):
        mixing(projector, [1] * ROWS, {"b": {"red", "blue"}, "c": {"blue"}})
