"""Projectors over sequences: how many tokens they make, of what, and refusals that name both numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from model.errors import ConfigurationError
from model.projectors import projector_config
from model.projectors.mlp2x_gelu import squares


def build(kind, *, dim=6, length=16, hidden_size=8, **values):
    return projector_config({"type": kind, **values}).build(dim=dim, length=length, hidden_size=hidden_size)


@pytest.mark.parametrize(
    ("values", "length", "tokens"),
    [
        ({"type": "linear"}, 64, 64),
        ({"type": "linear"}, 1, 1),
        ({"type": "linear", "tokens": 4}, 1, 4),
        ({"type": "linear", "tokens": 6}, 3, 6),
        ({"type": "mlp2x_gelu"}, 576, 576),
        ({"type": "mlp2x_gelu", "tokens": 729}, 729, 729),
        ({"type": "mlp2x_gelu", "shuffle": 2}, 576, 144),
        ({"type": "mlp2x_gelu", "shuffle": 3}, 729, 81),
        ({"type": "mlp2x_gelu", "shuffle": 4}, 16, 1),
        ({"type": "mlp2x_gelu"}, 7, 7),
        ({"type": "conv"}, 1500, 487),
        ({"type": "conv", "tokens": 487}, 1500, 487),
        ({"type": "conv", "kernel": 5, "stride": 5}, 50, 10),
        ({"type": "conv", "kernel": 50, "stride": 7}, 50, 1),
    ],
)
def test_the_configuration_knows_how_many_tokens_come_out(values, length, tokens):
    config = projector_config(values)
    assert config.count(length) == tokens
    projector = config.build(dim=6, length=length, hidden_size=8)
    with torch.no_grad():
        assert projector(torch.randn(2, length, 6)).shape == (2, tokens, 8)


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 20))
def test_conv_makes_what_it_counts(length, kernel, stride):
    config = projector_config({"type": "conv", "kernel": kernel, "stride": stride})
    if kernel > length:
        with pytest.raises(ConfigurationError, match=f"kernel: {kernel} is longer than the encoder's {length} vectors"):
            config.count(length)
        return
    with torch.no_grad():
        made = config.build(dim=2, length=length, hidden_size=3)(torch.zeros(1, length, 2))
    assert made.shape == (1, config.count(length), 3)


def test_mlp2x_gelu_is_the_published_one_on_each_patch_alone():
    projector = build("mlp2x_gelu")
    features = torch.randn(3, 16, 6)
    tokens = projector(features)
    for index in range(16):
        expected = projector.second(functional.gelu(projector.first(features[:, index])))
        torch.testing.assert_close(tokens[:, index], expected)


@given(st.integers(1, 4), st.integers(1, 4))
def test_squares_are_neighbours_in_reading_order(side, count):
    """Each vector of the output holds exactly the patches of one square, row by row."""
    width = side * count
    patches = torch.arange(width * width, dtype=torch.float32)[None, :, None]
    rows = patches.view(width, width)
    expected = [
        rows[top : top + side, left : left + side].flatten()
        for top in range(0, width, side)
        for left in range(0, width, side)
    ]
    assert torch.equal(squares(patches, side)[0], torch.stack(expected))


def test_conv_slides_over_time():
    projector = build("conv", kernel=4, stride=3, length=16)
    features = torch.randn(2, 16, 6)
    weight = projector.first.weight
    windows = [features[:, start : start + 4].transpose(1, 2).flatten(1) for start in range(0, 13, 3)]
    expected = torch.stack([window @ weight.flatten(1).T + projector.first.bias for window in windows], dim=1)
    torch.testing.assert_close(projector(features), projector.second(functional.gelu(expected)), rtol=1e-4, atol=1e-5)


def test_linear_keeps_the_tokens_of_a_vector_together():
    projector = build("linear", length=3, tokens=6)
    features = torch.randn(2, 3, 6)
    tokens = projector(features).view(2, 3, 2, 8)
    torch.testing.assert_close(tokens.flatten(2), projector.linear(features))


def test_published_sizes():
    """LLaVA-1.5-7B: Linear(1024, 4096), Linear(4096, 4096). MMMModal (modeling_combine.py): 768 wide encoders."""
    sizes = {
        ("mlp2x_gelu", 1024, 576, 4096): 1024 * 4096 + 4096 + 4096 * 4096 + 4096,
        ("mlp2x_gelu", 768, 576, 4096): 19_931_136,
        ("mlp2x_gelu", 768, 576, 2048): 5_771_264,
        ("conv", 768, 1500, 4096): 142_614_528,
        ("conv", 768, 1500, 2048): 67_112_960,
    }
    with torch.device("meta"):
        for (kind, dim, length, hidden), expected in sizes.items():
            projector = build(kind, dim=dim, length=length, hidden_size=hidden)
            assert sum(parameter.numel() for parameter in projector.parameters()) == expected


@pytest.mark.parametrize(
    ("values", "length", "message"),
    [
        ({"type": "linear", "tokens": 5}, 4, "tokens: 5 is not a multiple of the encoder's 4 vectors"),
        ({"type": "linear", "tokens": 2}, 4, "tokens: 2 is not a multiple of the encoder's 4 vectors"),
        ({"type": "linear"}, 5000, "tokens: 5000 is outside 1..4096"),
        ({"type": "linear"}, None, "type: linear needs the same number of vectors for every medium"),
        ({"type": "mlp2x_gelu", "tokens": 4}, 576, "tokens: 4, but mlp2x_gelu makes 576 of the encoder's 576 vectors"),
        ({"type": "mlp2x_gelu", "shuffle": 5}, 576, "shuffle: 5 needs a square grid of patches whose side it divides"),
        ({"type": "mlp2x_gelu", "shuffle": 2}, 18, "the encoder's 18 vectors form none"),
        ({"type": "mlp2x_gelu"}, None, "type: mlp2x_gelu needs the same number"),
        ({"type": "conv", "tokens": 400}, 1500, "tokens: 400, but conv makes 487 of the encoder's 1500 vectors"),
        ({"type": "conv"}, 1, "kernel: 40 is longer than the encoder's 1 vectors"),
        ({"type": "conv"}, None, "type: conv needs the same number"),
        ({"type": "conv", "kernel": 0}, 9, "projector.kernel: 0 is outside 1..4096"),
        ({"type": "conv", "stride": 0}, 9, "projector.stride: 0 is outside 1..4096"),
        ({"type": "mlp2x_gelu", "shuffle": 0}, 9, "projector.shuffle: 0 is outside 1..64"),
        ({"type": "linear", "tokens": 0}, 9, "projector.tokens: 0 is outside 1..4096"),
    ],
)
def test_refuses(values, length, message):
    with pytest.raises(ConfigurationError) as error:
        projector_config(values).build(dim=6, length=length, hidden_size=8)
    assert message in str(error.value)
