"""One API key: what is kept of it, what it may do, and how its secret is made.

A secret is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess that a slow hash would have to
protect, and a check costs microseconds in every request. (Slow hashes such as scrypt are for passwords, which people
choose.) A secret that is not made by `new_secret` must therefore be as hard to guess; `MIN_SECRET` keeps words out.
"""

import hashlib
import re
import secrets
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal["admin", "user"]
ADMIN: Role = "admin"
USER: Role = "user"
PREFIX = "qk-"
# Characters of a secret that an operator made elsewhere.
MIN_SECRET = 24
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_PATTERN = re.compile(NAME)

Rate = Annotated[int, Field(ge=1, le=10**15, strict=True)] | None


class Key(BaseModel):
    """What the file says about a key; a rate that is not given has no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=f"^{NAME}$")]
    """How logs, metrics and limits call it; never secret."""
    hash: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    """Of the secret."""
    role: Role = USER
    """An admin may also see what concerns all users, such as the metrics."""
    models: tuple[str, ...] = ()
    """Model ids it may name; all of them when empty."""
    requests_per_minute: Rate = None
    tokens_per_minute: Rate = None
    """Of prompts and answers together."""
    concurrent_requests: Rate = None
    image_pixels_per_minute: Rate = None
    """Width times height, of pictures that are decoded."""
    audio_seconds_per_minute: Rate = None
    """Of sounds that are decoded."""
    max_files: Rate = None
    """Uploaded files it may keep; the server's own limit when not given."""
    max_files_bytes: Rate = None
    """Bytes of them together."""

    @model_validator(mode="before")
    @classmethod
    def _no_bare_string(cls, values: object) -> object:
        if isinstance(values, dict) and isinstance(values.get("models"), str):
            raise ValueError("models: expected a list of model ids")
        return values

    def may_use(self, model: str) -> bool:
        """Whether it may name this model."""
        return not self.models or model in self.models


def new_secret() -> str:
    """A new secret: `qk-` and 43 characters, 256 bits of the operating system's randomness."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    """What is kept of a secret: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def is_name(name: str) -> bool:
    """Whether a key may have this name."""
    return _PATTERN.fullmatch(name) is not None
