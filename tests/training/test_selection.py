"""What a stage trains: the keys of its learning rates."""

from typing import Any

import pytest
from torch import nn

from model.errors import ConfigurationError
from training.selection import matches, may_train, parameter_groups

NAMES = [
    "language_model.model.embed_tokens.weight",
    "language_model.model.layers.0.self_attn.q_proj.base_layer.weight",
    "language_model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
    "encoders.image.tower.weight",
    "encoders.audio.conv.weight",
    "projectors.image.first.weight",
    "projectors.image.second.weight",
    "projectors.audio.first.weight",
]


@pytest.fixture
def model() -> nn.Module:
    def projector() -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(2, 2) for name in ("first", "second")})

    return nn.ModuleDict(
        {"language_model": nn.Linear(2, 2), "projectors": nn.ModuleDict({n: projector() for n in ("image", "audio")})}
    )


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_the_first_key_that_matches_gives_the_rate(model: nn.Module) -> None:
    rates = {"projectors.image.second.*": 0.1, "projectors.*.first.*": 0.0, "projectors": 0.2}
    groups = parameter_groups(model.named_parameters(), rates)
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(2, 0.1), (2, 0.2)]
    assert trained(model) == [f"projectors.{n}.second.{p}" for n in ("image", "audio") for p in ("weight", "bias")]


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        ("llm", [0, 1]),
        ("adapter", [2]),
        ("encoders", [3, 4]),
        ("encoders.image", [3]),
        ("projectors", [5, 6, 7]),
        ("projectors.image", [5, 6]),
        ("projectors.*.first.*", [5, 7]),
        ("language_model.*.lora_*", [2]),
        ("*", list(range(8))),
        ("projectors.im", []),
    ],
)
def test_what_a_key_means(key: str, numbers: list[int]) -> None:
    assert [NAMES.index(name) for name in NAMES if matches(key, name)] == numbers


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("projectors.video", r"no parameter is called like 'projectors\.video'; give projectors, adapter, llm"),
        ("adapter", r"no parameter is called like 'adapter' \(the recipe has no adapter\)"),
    ],
)
def test_a_key_that_means_nothing_is_named(model: nn.Module, key: str, message: str) -> None:
    rates = {"projectors.image": 0.1, key: 0.1}
    with pytest.raises(ConfigurationError, match=f"learning_rates: {message}"):
        parameter_groups(model.named_parameters(), rates)


KEYS = [
    *NAMES, "llm", "adapter", "encoders", "projectors", "encoders.image", "enc*", "*", "*.weight", "projectors.*",
    "encoders.*.conv.*", "encoders.i*.tower.*", "language_model.*.lora_*",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_what_may_be_trained_is_known_before_there_is_a_model(key: str) -> None:
    """It never overlooks a part that is trained; and what it names in vain is only a pattern that ends in nothing."""
    for prefix in ("encoders.image.", "encoders.audio.", "language_model."):
        meant = [name for name in NAMES if matches(key, name) and name.startswith(prefix) and "lora_" not in name]
        assert may_train({key: 0.1}, prefix) >= bool(meant)
        assert not may_train({key: 0.0}, prefix)
    if key.startswith(("projectors", "adapter", "language_model.*.lora_")):
        assert not any(may_train({key: 0.1}, prefix) for prefix in ("encoders.image.", "encoders.audio."))


def groups_of(model: nn.Module, rates: dict[str, float]) -> list[dict[str, Any]]:
    return parameter_groups(model.named_parameters(), rates)


def test_what_is_frozen_again_by_a_later_stage_needs_no_gradient(model: nn.Module) -> None:
    groups_of(model, {"*": 0.1})
    groups_of(model, {"projectors.audio": 0.1})
    assert all(name.startswith("projectors.audio.") for name in trained(model))
