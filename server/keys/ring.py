"""All keys of a moment, and the search among them: the same work whichever key is asked for, and for none."""

import hmac
from collections.abc import Callable, Sequence

from server.keys.key import Key, hashed

Compare = Callable[[str, str], bool]


class KeyRing:
    """Finds the key that a secret belongs to.

    The secret is hashed first, so what a client could learn from the time of a comparison would be about a hash that
    it cannot choose; and every hash is compared, each in constant time, so there is nothing to learn about the place.
    """

    def __init__(self, keys: Sequence[Key], compare: Compare = hmac.compare_digest) -> None:
        self.keys = tuple(keys)
        self._compare = compare

    def find(self, secret: str) -> Key | None:
        """The key with this secret, None if there is none."""
        wanted = hashed(secret)
        found: Key | None = None
        for key in self.keys:
            if self._compare(key.hash, wanted):
                found = key
        return found
