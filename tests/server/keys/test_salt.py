"""Prefixes that are cached are each key's own; without keys nothing changes."""

from types import SimpleNamespace
from typing import Any

from server.entrance import Entry
from server.exchange import Exchange
from server.keys.key import Key, hashed
from server.keys.salt import separate_prefixes


def salted(prompt: Any, name: str | None) -> Any:
    key = Key(name=name, hash=hashed(name)) if name else None
    separate_prefixes(Entry(prompt=prompt, sampling=None, options={}, exchange=Exchange(request_id="a", key=key)))
    return prompt.get("cache_salt") if isinstance(prompt, dict) else getattr(prompt, "cache_salt", None)


def test_keys_have_salts_of_their_own() -> None:
    alice, bob = salted({"prompt_token_ids": [1]}, "alice"), salted({"prompt_token_ids": [1]}, "bob")
    assert len({alice, bob, None, ""}) == 4
    assert salted({"prompt_token_ids": [2]}, "alice") == alice
    assert salted(SimpleNamespace(cache_salt=None), "alice") == alice


def test_without_keys_prompts_stay_as_they_are() -> None:
    assert salted({"prompt_token_ids": [1]}, None) is None
    assert salted({"cache_salt": "mine"}, None) == "mine"
    assert salted("a plain text", None) is None


def test_a_client_s_salt_parts_its_own_prompts_and_reaches_nobody_else_s() -> None:
    alice = salted({}, "alice")
    assert salted({"cache_salt": "x"}, "alice") not in (alice, salted({"cache_salt": "y"}, "alice"))
    assert salted({"cache_salt": alice}, "bob") not in (alice, salted({}, "bob"))


def test_a_prompt_that_comes_twice_is_salted_once() -> None:
    prompt = {"cache_salt": "x"}
    first = salted(prompt, "alice")
    assert salted(prompt, "alice") == first
