"""Projectors: shapes, sizes, softmax groups, and refusals."""

import math

import pytest
import torch

from model.errors import ConfigurationError
from model.projectors import projector_config


def build(dim=16, length=1, hidden_size=8, **values):
    return projector_config({"type": "mlp", **values}).build(dim=dim, length=length, hidden_size=hidden_size)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize(("tokens", "hidden"), [(1, None), (4, None), (3, 20)])
def test_shapes(activation, tokens, hidden):
    projector = build(activation=activation, tokens=tokens, hidden_size=8)
    assert projector(torch.randn(5, 1, 16)).shape == (5, tokens, 8)
    projector = projector_config({"type": "mlp", "activation": activation, "tokens": tokens, "hidden_size": hidden})
    assert projector.build(dim=16, length=1, hidden_size=8)(torch.randn(2, 1, 16)).shape == (2, tokens, 8)


def test_size_of_s3():
    """The released projector of S3 for a CLIP-L picture and Mistral-7B: Linear(1024, 4096), Linear(4096, 4 x 4096)."""
    with torch.device("meta"):
        projector = build(dim=1024, hidden_size=4096, tokens=4, dropout=0.1)
    assert sum(parameter.numel() for parameter in projector.parameters()) == 71_323_648


def test_without_activation_it_is_linear():
    projector = build()
    x, y = torch.randn(2, 3, 1, 16)
    zero = projector(torch.zeros(3, 1, 16))
    torch.testing.assert_close(projector(x + y) - zero, projector(x) + projector(y) - 2 * zero)


def test_tokens_are_consecutive_slices_of_the_second_layer():
    projector = build(tokens=3)
    x = torch.randn(2, 1, 16)
    torch.testing.assert_close(projector(x).flatten(1), projector.second(projector.first(x[:, 0])))


def test_softmax_groups_sum_to_one():
    projector = build(activation="softmax", groups=[5, 2, 10])
    concepts = projector.concepts(10 * torch.randn(7, 16))
    assert concepts.shape == (7, 17)
    for group in concepts.split([5, 2, 10], dim=-1):
        torch.testing.assert_close(group.sum(-1), torch.ones(7))
    assert projector.second.in_features == 17


def test_hidden_units_stand_beside_the_features_that_concepts_are_scored_by():
    projector = build(activation="softmax", groups=[4, 3], score_size=6)
    x = torch.randn(5, 16)
    seen = torch.cat([x, torch.nn.functional.gelu(projector.units(x))], dim=1)
    assert projector.first.in_features == 16 + 6
    scores = projector.first(seen).split([4, 3], dim=1)
    torch.testing.assert_close(projector.concepts(x), torch.cat([part.softmax(dim=1) for part in scores], dim=1))
    assert not hasattr(build(activation="softmax", groups=[4]), "units")


@pytest.mark.parametrize("rank", [None, 3])
def test_residual_path_is_linear_in_standardised_features(rank):
    projector = build(activation="softmax", groups=[4], residual=True, residual_rank=rank)
    with torch.no_grad():
        projector.mean.fill_(2.0)
        projector.scale.fill_(0.5)
        for parameter in (*projector.first.parameters(), *projector.second.parameters()):
            parameter.zero_()
    x = torch.randn(3, 1, 16)
    torch.testing.assert_close(projector(x).flatten(1), projector.residual((x[:, 0] - 2) / 2))
    torch.testing.assert_close(projector(torch.full((1, 1, 16), 2.0)), torch.zeros(1, 4, 8))
    names = set(projector.state_dict())
    assert {"mean", "scale"} < names
    assert len([name for name in names if name.startswith("residual.")]) == (2 if rank else 1)


def test_dropout_only_in_training():
    projector = build(dropout=0.5)
    x = torch.randn(4, 1, 16)
    assert not torch.equal(projector(x), projector(x))
    projector.eval()
    assert torch.equal(projector(x), projector(x))


def test_a_gated_group_speaks_as_far_as_the_other_is_silent():
    # The second group's first concept is its nothing; the first group is behind it.
    softmax = build(activation="softmax", groups=[3, 2, 2], gates=[3, -1, -1]).activation
    probabilities = softmax(torch.tensor([[1.0, 2.0, 3.0, math.log(3.0), 0.0, 5.0, 5.0]]))
    first, second, third = probabilities.split([3, 2, 2], dim=-1)
    torch.testing.assert_close(second, torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(first, 0.75 * torch.tensor([[1.0, 2.0, 3.0]]).softmax(dim=-1))
    torch.testing.assert_close(third, torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "qformer"}, "projector.type: 'qformer' is not one of conv, linear, mlp, mlp2x_gelu"),
        ({"type": None}, "projector.type: None is not one of conv, linear, mlp, mlp2x_gelu"),
        ({"tokens": 5000}, "projector.tokens: 5000 is outside 1..4096"),
        ({"activation": "tanh"}, "projector.activation: 'tanh' is not one of gelu, none, relu, softmax"),
        ({"dropout": 1.0}, "projector.dropout: 1.0 is outside 0.0..0.9"),
        ({"hidden_size": 0}, "projector.hidden_size: 0 is outside 1..131072"),
        ({"residual": "yes"}, "projector.residual: expected bool, got 'yes'"),
        ({"residual": True, "residual_rank": 0}, "projector.residual_rank: 0 is outside 1..131072"),
        ({"residual_rank": 4}, "projector.residual_rank: 4 goes with residual"),
        ({"groups": [4]}, "projector.groups: [4] goes with activation softmax, not none"),
        ({"score_size": 8}, "projector.score_size: 8 goes with activation softmax"),
        ({"activation": "softmax", "groups": [4], "score_size": 0}, "projector.score_size: 0"),
        ({"gates": [-1]}, "projector.gates: [-1] needs one number for each of groups ([])"),
        (
            {"activation": "softmax", "groups": [4, 3], "gates": [7, -1]},
            "projector.gates[0]: 7 is outside -1..6",
        ),
        (
            {"activation": "softmax", "groups": [4, 3], "gates": [0, -1]},
            "projector.gates[0]: 0 is a concept of groups[0]; take one of another group without a gate",
        ),
        (
            {"activation": "softmax", "groups": [4, 3, 2], "gates": [4, 7, -1]},
            "projector.gates[0]: 4 is a concept of groups[1]; take one of another group without a gate",
        ),
        ({"activation": "softmax"}, "projector.groups: [] goes with activation softmax"),
        ({"activation": "softmax", "groups": [4, 1]}, "projector.groups: [4, 1] must be whole numbers of at least 2"),
        ({"activation": "softmax", "groups": [True, 3]}, "projector.groups: expected list[int]"),
        (
            {"activation": "softmax", "groups": [4], "hidden_size": 5},
            "projector.hidden_size: 5 is not the sum of groups",
        ),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        projector_config({"type": "mlp", **values})
    assert message in str(error.value)


@pytest.mark.parametrize("length", [None, 7])
def test_refuses_features_that_are_not_pooled(length):
    with pytest.raises(ConfigurationError, match=f"4 tokens of pooled features of length 1, .* {length or 'varying'};"):
        build(length=length)
