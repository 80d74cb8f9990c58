"""Starts of a projector: what comes out before the first step."""

from typing import Any

import pytest
import torch

from model.errors import ConfigurationError, DataError
from model.projectors import projector_config
from model.projectors.mlp import Mlp
from tests.support.tiny import build_tokenizer
from training.initialise import (
    ConceptGroup,
    fit_ridge,
    name_embeddings,
    residual_output,
    standardise,
    start_from_names,
    start_from_ridge,
    start_projector,
)

DIM, HIDDEN, TOKENS = 24, 16, 4
NAMES: list[str | None] = ["red", "blue", "a cat sat on the mat", None]
OTHERS: list[str | None] = ["one", "two"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="module")
def embeddings(tokenizer: Any) -> torch.Tensor:
    return torch.randn(len(tokenizer), HIDDEN, generator=torch.Generator().manual_seed(0))


def build(**fields: Any) -> Mlp:
    torch.manual_seed(0)
    config = projector_config({"type": "mlp", "tokens": TOKENS, **fields})
    projector = config.build(dim=DIM, length=1, hidden_size=HIDDEN)
    assert isinstance(projector, Mlp)
    return projector.eval()


def softmax(groups: list[int], **fields: Any) -> Mlp:
    return build(activation="softmax", groups=groups, **fields)


def concepts(names: list[str | None], first: int = 0, slot: int = 0) -> ConceptGroup:
    """Concept k is confidently scored by feature `first + k`."""
    weight = torch.zeros(len(names), DIM)
    weight[range(len(names)), range(first, first + len(names))] = 1.0
    return ConceptGroup(names, weight, torch.zeros(len(names)), slot)


def confident(*indices: int) -> torch.Tensor:
    features = torch.zeros(1, 1, DIM)
    features[0, 0, list(indices)] = 100.0
    return features


@pytest.mark.parametrize("residual", [{}, {"residual": True}, {"residual": True, "residual_rank": 3}])
def test_names_make_a_confident_score_say_exactly_the_name(
    tokenizer: Any, embeddings: torch.Tensor, residual: dict[str, Any]
) -> None:
    projector = softmax([4], **residual)
    standardise(projector, torch.randn(50, DIM))
    start_from_names(projector, [concepts(NAMES)], tokenizer, embeddings)
    for index, name in enumerate(NAMES):
        expected = torch.zeros(1, TOKENS, HIDDEN)
        ids = tokenizer(f" {name}", add_special_tokens=False)["input_ids"][:TOKENS] if name else []
        expected[0, : len(ids)] = embeddings[ids]
        torch.testing.assert_close(projector(confident(index)), expected)
    doubt = projector(confident(0, 1))
    torch.testing.assert_close(doubt, (projector(confident(0)) + projector(confident(1))) / 2)


def test_groups_are_independent_and_stand_in_their_slots(tokenizer: Any, embeddings: torch.Tensor) -> None:
    projector = softmax([4, 2])
    start_from_names(projector, [concepts(NAMES), concepts(OTHERS, first=4, slot=2)], tokenizer, embeddings)
    first = name_embeddings(["red"], tokenizer, embeddings, TOKENS)
    second = name_embeddings(["two"], tokenizer, embeddings, TOKENS, slot=2)
    assert second[:, :2].abs().sum() == 0
    assert second[:, 2].abs().sum() > 0
    torch.testing.assert_close(projector(confident(0, 5)), first + second)


def test_groups_must_be_those_of_the_concepts(tokenizer: Any, embeddings: torch.Tensor) -> None:
    with pytest.raises(ConfigurationError, match=r"projector\.groups: \[3\] are not the sizes of the concepts \(\[4\]"):
        start_from_names(softmax([3]), [concepts(NAMES)], tokenizer, embeddings)
    wrong = ConceptGroup(NAMES, torch.zeros(4, DIM + 1), torch.zeros(4))
    with pytest.raises(ConfigurationError, match=r"concepts\[0\]: scores of shape \[4, 25\] do not fit 4 names and"):
        start_from_names(softmax([4]), [wrong], tokenizer, embeddings)
    with pytest.raises(ConfigurationError, match=r"slot: 4 is outside 0\.\.3"):
        start_from_names(softmax([4]), [concepts(NAMES, slot=4)], tokenizer, embeddings)


def test_standardise_gives_the_residual_path_mean_zero_and_spread_one() -> None:
    features = torch.randn(200, DIM) * torch.logspace(-1, 1, DIM) + 7
    features[:, 0] = 2.5
    projector = build(residual=True)
    standardise(projector, features)
    standard = (features - projector.mean) * projector.scale
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(DIM), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard[:, 1:].std(dim=0, correction=0), torch.ones(DIM - 1), atol=1e-4, rtol=0)
    assert projector.scale.isfinite().all()
    standardise(projector, features[:1])
    assert projector.scale.isfinite().all()
    plain = build()
    standardise(plain, features)
    assert not hasattr(plain, "mean")


def linear_map(n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, their targets under a known map of rank 10, and features it was not fitted on."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(n + 50, DIM, generator=generator) * torch.logspace(-1, 1, DIM) + 3
    weight = torch.randn(DIM, 10, generator=generator) @ torch.randn(10, TOKENS * HIDDEN, generator=generator) / 10
    targets = features @ weight + torch.randn(TOKENS * HIDDEN, generator=generator)
    return features[:n], targets.unflatten(1, (TOKENS, HIDDEN)), features[n:]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hidden_size": 100},
        {"residual": True, "residual_rank": 5},
        {"residual": True},
        {"residual": True, "activation": "gelu"},
        {"residual": True, "activation": "softmax", "groups": [3, 4]},
    ],
)
def test_ridge_recovers_a_known_linear_map(fields: dict[str, Any]) -> None:
    features, targets, held_out = linear_map()
    projector = build(**fields)
    standardise(projector, features)
    start_from_ridge(projector, features, targets[: len(features)], penalty=1e-6)
    found = projector(held_out[:, None])
    torch.testing.assert_close(found, targets[len(features) :], atol=2e-2, rtol=1e-2)


def test_two_layers_are_the_direct_map_as_far_as_their_width_allows() -> None:
    features, targets, held_out = linear_map()
    weight, bias = fit_ridge(features, targets[: len(features)].flatten(1), 1.0)
    direct = (held_out @ weight.T + bias).unflatten(1, (TOKENS, HIDDEN))
    errors = []
    for width in (2, 6, 30):
        projector = build(hidden_size=width)
        start_from_ridge(projector, features, targets[: len(features)], penalty=1.0)
        with torch.no_grad():
            errors.append(float((projector(held_out[:, None]) - direct).norm() / direct.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-4


def test_ridge_leaves_nothing_dead() -> None:
    features, targets, _ = linear_map()
    projector = build(hidden_size=60)
    start_from_ridge(projector, features, targets[: len(features)])
    projector(features[:, None]).square().sum().backward()
    assert (projector.second.weight.grad.abs().sum(dim=0) > 0).all()


def test_ridge_needs_a_linear_path() -> None:
    features, targets, _ = linear_map()
    for fields in ({"activation": "gelu"}, {"activation": "relu", "residual": True, "residual_rank": 4}):
        with pytest.raises(ConfigurationError, match="ridge needs activation none, or a residual path of full rank"):
            start_from_ridge(build(**fields), features, targets[: len(features)])


def test_a_start_needs_media_and_a_projector_that_can(tokenizer: Any, embeddings: torch.Tensor) -> None:
    common: dict[str, Any] = {"groups": [], "tokenizer": tokenizer, "embeddings": embeddings}
    with pytest.raises(DataError, match="ridge needs training samples with one medium each"):
        start_projector(build(), "ridge", features=torch.empty(0, DIM), answers=[], **common)
    with pytest.raises(ConfigurationError, match="names needs a projector of type mlp"):
        start_projector(torch.nn.Identity(), "names", features=torch.zeros(1, DIM), answers=["x"], **common)  # type: ignore[arg-type]


def test_ridge_says_the_answers_of_training_media(tokenizer: Any, embeddings: torch.Tensor) -> None:
    answers = ["red", "blue", "the cat", "two"] * 30
    features = torch.eye(4).repeat(30, DIM // 4) + 0.01 * torch.randn(120, DIM)
    projector = build()
    start_projector(
        projector, "ridge", features=features, answers=answers, groups=[], tokenizer=tokenizer, embeddings=embeddings
    )
    expected = name_embeddings(answers[:4], tokenizer, embeddings, TOKENS)
    torch.testing.assert_close(projector(features[:4, None]), expected, atol=0.15, rtol=0)


def test_a_random_start_keeps_its_weights(tokenizer: Any, embeddings: torch.Tensor) -> None:
    projector = build(residual=True)
    before = projector.second.weight.clone()
    features = 5 + torch.randn(30, DIM)
    start_projector(
        projector, "random", features=features, answers=[], groups=[], tokenizer=tokenizer, embeddings=embeddings
    )
    assert torch.equal(projector.second.weight, before)
    assert residual_output(projector).weight.abs().sum() > 0
    torch.testing.assert_close(projector.mean, features.mean(dim=0))
