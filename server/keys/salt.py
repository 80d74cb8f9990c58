"""Keeps the prefix cache of one key from telling another one, by the time of an answer, what was asked before."""

import hashlib
from collections.abc import MutableMapping

from server.entrance import Entry


def separate_prefixes(entry: Entry) -> None:
    """Salt a prompt with the name of its key, before what the client gave; without keys it stays as it is.

    A guard of `server.entrance`. A prompt that comes twice is salted once: one that begins with the key's own salt may
    also be the client's doing, and stays among this key's.
    """
    key, prompt = entry.exchange.key, entry.prompt
    if key is None:
        return
    own = hashlib.sha256(key.name.encode()).hexdigest() + ":"
    mapping = isinstance(prompt, MutableMapping)
    given = (prompt.get("cache_salt") if mapping else getattr(prompt, "cache_salt", None)) or ""
    salt = given if given.startswith(own) else own + given
    if mapping:
        prompt["cache_salt"] = salt
    else:
        prompt.cache_salt = salt
