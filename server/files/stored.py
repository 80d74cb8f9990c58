"""What is known about a file, how ids are made, and whose a file is.

An id is the millisecond of the upload and 128 random bits, in hexadecimal: nobody can guess one, and names in the order
of ids are in the order of time, also where several servers give them.
"""

import re
import secrets
import time
import unicodedata
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from server.keys.key import NAME, Key

Purpose = Literal["assistants", "batch", "evals", "fine-tune", "user_data", "vision"]
Modality = Literal["image", "audio"]
PURPOSES: tuple[str, ...] = get_args(Purpose)
# Whose files are those of a server that asks for no keys.
NOBODY = "open"
_ID = re.compile("file-[0-9a-f]{44}")
# What a file system takes; also the longest name that an answer's header has to carry.
LONGEST_NAME = 255
UNNAMED = "file"


class StoredFile(BaseModel):
    """One file; never changed once it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    id: Annotated[str, Field(pattern=f"^{_ID.pattern}$")]
    owner: Annotated[str, Field(pattern=rf"^(?:{NOBODY}|key\.{NAME})$")]
    """The namespace it is in; see `owner_of`."""
    filename: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    """As the client called it; only shown, never a path."""
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    modality: Modality
    """What its first bytes are."""
    purpose: Purpose
    created_at: int
    """Seconds since 1970."""
    expires_at: int | None = None
    """From then on it is gone; None for never."""

    @property
    def record(self) -> str:
        """The name of the object that holds this."""
        return f"{self.owner}/files/{self.id}"

    @property
    def content(self) -> str:
        """The name of the object that holds its bytes."""
        return f"{self.owner}/blobs/{self.sha256}/{self.id}"

    def expired(self, now: float) -> bool:
        """Whether it is gone at `now`, `time.time`."""
        return self.expires_at is not None and self.expires_at <= now

    def shown(self) -> dict[str, Any]:
        """OpenAI's file object."""
        fields = self.model_dump(include={"id", "bytes", "created_at", "expires_at", "filename", "purpose"})
        return {"object": "file", **fields, "status": "processed"}


def new_id() -> str:
    """An id that nobody has and nobody can guess."""
    return f"file-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(16)}"


def is_id(text: str) -> bool:
    """Whether a file could be called so; anything else is not looked for."""
    return _ID.fullmatch(text) is not None


def owner_of(key: Key | None) -> str:
    """The namespace of a key's files, by its name: a new secret under the same name finds the files again."""
    return NOBODY if key is None else f"key.{key.name}"


def shown_name(given: str) -> str:
    """A client's name for a file, as it is kept: the last step of a path, nothing that a terminal or a page obeys."""
    last = given.replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = "".join(character for character in last if unicodedata.category(character)[0] != "C").strip()
    return plain[:LONGEST_NAME].strip() if plain.strip(".") else UNNAMED
