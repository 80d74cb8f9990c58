"""Synthetic features: the head names the wanted class, with the probability that was wanted."""

import pytest
import torch

from model.errors import DataError
from training.dream import HIGH, LOW, dream


def head(classes: int = 20, dim: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, dim, generator=generator) / 4, torch.randn(classes, generator=generator)


def base(n: int, dim: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)).clamp_min(0)


def test_the_head_names_the_wanted_class() -> None:
    weight, bias = head()
    classes = torch.arange(20).repeat(15)
    start = base(len(classes))
    features = dream((weight, bias), start.clone(), classes, seed=3)
    probabilities = (features @ weight.T + bias).softmax(dim=-1)
    found = probabilities.gather(1, classes[:, None])[:, 0]
    wanted = LOW + (HIGH - LOW) * torch.rand(len(classes), generator=torch.Generator().manual_seed(3))
    assert (found >= wanted - 1e-5).all()
    assert (features >= 0).all()
    assert features.dtype == torch.float32
    # Pushed just as far as needed, so some stay unsure, as real pictures are.
    assert found.min() < 0.6
    assert (features - start).norm(dim=-1).median() < 2 * start.norm(dim=-1).median()


def test_the_same_seed_gives_the_same_features_and_leaves_the_base_alone() -> None:
    start = base(20)
    before = start.clone()
    first, same, other = (dream(head(), start, torch.arange(20), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(start, before)


def test_a_class_that_cannot_be_reached_is_named() -> None:
    weight, bias = head()
    # No non-negative feature raises this class above the others.
    weight[7] = -weight.abs().sum(dim=0)
    with pytest.raises(DataError, match=r"1 of 20 synthetic features, class 7 among them, are not named"):
        dream((weight, bias - 50 * torch.nn.functional.one_hot(torch.tensor(7), 20)), base(20), torch.arange(20))
