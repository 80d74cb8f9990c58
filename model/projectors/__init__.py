"""Trained projectors: one file per type, found by name.

To add a type, write one file with a `ProjectorConfig` subclass and name it in `TYPES`.
"""

from collections.abc import Mapping
from typing import Any

from model.fields import from_choice
from model.projectors.base import Projector, ProjectorConfig
from model.projectors.conv import ConvConfig
from model.projectors.linear import LinearConfig
from model.projectors.mlp import MlpConfig
from model.projectors.mlp2x_gelu import Mlp2xGeluConfig

TYPES: dict[str, type[ProjectorConfig]] = {
    config.type: config for config in (ConvConfig, LinearConfig, MlpConfig, Mlp2xGeluConfig)
}

__all__ = ["TYPES", "Projector", "ProjectorConfig", "projector_config"]


def projector_config(values: Mapping[str, Any], *, where: str = "projector") -> ProjectorConfig:
    """The checked configuration of the type that `values["type"]` names.

    Raises:
        ConfigurationError: unknown type, unknown key or impossible value, naming its path.
    """
    return from_choice(TYPES, values, key="type", where=where)
