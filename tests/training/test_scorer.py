"""Scores by a hidden layer: what a linear probe cannot tell, one network of several, the same for every call."""

import pytest
import torch

from model.errors import DataError
from training import scorer
from training.probe import fit_probe
from training.scorer import fit_scorer

NAMES = ("inside", "outside")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "NOISE", (0.1, 0.1))


def ring(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Points of a plane, near its middle or around it, shifted and stretched as raw features are."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    inside = torch.rand(count, generator=generator) < 0.5
    radius = torch.where(inside, 0.4, 2.0) + 0.1 * torch.randn(count, generator=generator)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return points * torch.tensor([3.0, 0.2]) + torch.tensor([50.0, -1.0]), [NAMES[0 if i else 1] for i in inside]


def test_it_tells_what_no_linear_probe_can() -> None:
    features, labels = ring(1500, 1)
    unseen = ring(400, 2)
    assert fit_probe(features, labels).accuracy(*unseen) < 0.75
    fitted = fit_scorer(features, labels, units=64)
    assert fitted.accuracy(*unseen) > 0.97
    assert fitted.classes == list(NAMES)


def test_its_members_are_one_hidden_layer() -> None:
    features, labels = ring(300, 1)
    fitted = fit_scorer(features, labels, units=30)
    assert fitted.units.shape == (30, 2)
    assert fitted.offset.shape == (30,)
    assert fitted.weight.shape == (2, 30)
    expected = torch.nn.functional.gelu(features @ fitted.units.T + fitted.offset) @ fitted.weight.T + fitted.bias
    torch.testing.assert_close(fitted.scores(features), expected)


def test_it_is_a_function_of_its_seed_and_leaves_others_their_chance() -> None:
    features, labels = ring(300, 1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fit_scorer(features, labels, units=8)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.weight, fit_scorer(features, labels, units=8).weight)
    assert not torch.equal(first.weight, fit_scorer(features, labels, units=8, seed=1).weight)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least two classes, got \['inside'\]"):
        fit_scorer(torch.randn(10, 2), ["inside"] * 10, units=8)
