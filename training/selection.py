"""What a stage trains: from the keys of its `learning_rates` to groups of parameters.

A key is a part of the model (`projectors`, `adapter`, `llm`, `encoders`), one modality of a part (`projectors.image`,
`encoders.audio`), or a pattern of parameter names (`projectors.*.second.*`, `language_model.model.layers.2?.*`).
"""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from model.adapter import PARAMETER
from model.errors import ConfigurationError

PROJECTORS, ENCODERS, LLM = "projectors.", "encoders.", "language_model."
PARTS = ("projectors", "adapter", "llm", "encoders")


def matches(key: str, name: str) -> bool:
    """Whether a key of `learning_rates` means the parameter of this name.

    The adapter's parameters lie inside the language model, but `llm` means its own only.
    """
    if key == "adapter":
        return PARAMETER in name
    if key == "llm":
        return is_llm(name)
    if f"{key.partition('.')[0]}." in (PROJECTORS, ENCODERS) and key.count(".") <= 1 and "*" not in key:
        return name.startswith(f"{key}.")
    return fnmatch.fnmatchcase(name, key)


def is_llm(name: str) -> bool:
    """Whether a parameter is the language model's own, not its adapter's."""
    return name.startswith(LLM) and PARAMETER not in name


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Optimizer groups by the first key that matches a parameter's name; the rest is frozen.

    Args:
        parameters: name and parameter; `requires_grad` is set on each.
        rates: see the module; 0 freezes.

    Raises:
        ConfigurationError: a key matches nothing.
    """
    groups: dict[str, list[nn.Parameter]] = {key: [] for key, rate in rates.items() if rate > 0}
    for name, parameter in parameters:
        key = next((key for key in rates if matches(key, name)), None)
        parameter.requires_grad_(key in groups)
        if key in groups:
            groups[key].append(parameter)
    for key, members in groups.items():
        if not members:
            absent = " (the recipe has no adapter)" if key == "adapter" else ""
            raise ConfigurationError(
                f"learning_rates: no parameter is called like {key!r}{absent}; give {', '.join(PARTS)}, "
                "projectors.<modality>, encoders.<modality> or a pattern of parameter names"
            )
    return [{"params": members, "lr": rates[key]} for key, members in groups.items()]


def may_train(rates: Mapping[str, float], prefix: str) -> bool:
    """Whether these rates can train a parameter whose name starts with `prefix`, judged by the keys alone.

    It must be known before a model is built: an encoder that is trained cannot have its features cached, and a language
    model that is trained is loaded in another precision.
    """
    return any(rate > 0 and _reaches(key, prefix) for key, rate in rates.items())


def _reaches(key: str, prefix: str) -> bool:
    if key in PARTS:
        part = {"projectors": PROJECTORS, "encoders": ENCODERS, "llm": LLM}.get(key)
        return part is not None and prefix.startswith(part)
    if PARAMETER in key:
        return False
    # The fixed beginning of a pattern leads into the prefix, or stays inside it.
    fixed = key[: min((key.index(sign) for sign in "*?[" if sign in key), default=len(key))]
    return f"{key}.".startswith(prefix) or (fixed != key and (prefix.startswith(fixed) or fixed.startswith(prefix)))
