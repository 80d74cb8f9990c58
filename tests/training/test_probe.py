"""Linear probes: as good as the features allow, and folded back to raw features."""

import pytest
import torch

from model.errors import DataError
from training.probe import fit_probe


def clusters(names: list[str], each: int = 30, dim: int = 12, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    """Well separated classes on features of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    scale, offset = torch.logspace(-2, 2, dim), torch.randn(dim, generator=generator) * 5
    centres = 4 * torch.randn(len(names), dim, generator=torch.Generator().manual_seed(99))
    features = centres.repeat_interleave(each, 0) + torch.randn(len(names) * each, dim, generator=generator)
    return features * scale + offset * scale, [name for name in names for _ in range(each)]


@pytest.mark.parametrize("names", [["cat", "dog"], ["a", "b", "c", "d"]])
def test_it_tells_held_out_features_apart(names: list[str]) -> None:
    probe = fit_probe(*clusters(names))
    features, labels = clusters(names, seed=0)
    assert probe.classes == sorted(names)
    assert probe.weight.shape == (len(names), features.shape[1])
    assert probe.accuracy(features, labels) > 0.97


def test_two_classes_have_the_probabilities_of_one_signed_score() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = clusters(["no", "yes"])
    features += 3 * torch.randn(features.shape, generator=torch.Generator().manual_seed(5)) * features.std(dim=0)
    probe = fit_probe(features, labels, penalty=0.05)
    standard = (features - features.mean(dim=0)) / features.std(dim=0)
    expected = LogisticRegression(C=0.05, max_iter=300, tol=1e-3).fit(standard.numpy(), labels)
    ours = (features @ probe.weight.T + probe.bias).softmax(dim=-1)
    torch.testing.assert_close(
        ours, torch.tensor(expected.predict_proba(standard.numpy()), dtype=torch.float32), atol=1e-3, rtol=1e-3
    )


def test_constant_features_do_no_harm() -> None:
    features, labels = clusters(["a", "b", "c"])
    features[:, 0] = 3.0
    probe = fit_probe(features, labels)
    assert probe.weight.isfinite().all()
    assert probe.accuracy(features, labels) > 0.9


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least two classes, got \['a'\]"):
        fit_probe(torch.randn(3, 4), ["a"] * 3)
