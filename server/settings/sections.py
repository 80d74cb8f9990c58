"""What the sections of the settings have in common: the base class, and types that read alike from every source.

A flag and an environment variable are strings, a YAML file has types. A list is therefore also accepted as
`a,b` or as JSON, a mapping as `a=b,c=d` or as JSON; numbers are accepted as their spelling.
"""

import json
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class Section(BaseModel):
    """One concern of the settings. A field's docstring is its help; its name is the same in every source."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
    title: ClassVar[str]
    """Heading in `quartet serve --help` and `quartet config`."""


def _list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _mapping(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return json.loads(value)
    pairs = [item.partition("=") for item in value.split(",") if item.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("give name=value, several separated by commas")
    return {name.strip(): content.strip() for name, _, content in pairs}


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_list)]
"""A list of words."""
Numbers = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_list)]
"""A list of whole numbers."""
Mapping = Annotated[dict[str, str], NoDecode, BeforeValidator(_mapping)]
"""Words by name."""
