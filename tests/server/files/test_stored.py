"""Ids that cannot be guessed, names that do no harm, and records that are what they should be."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from server.files.stored import LONGEST_NAME, StoredFile, is_id, new_id, owner_of, shown_name
from server.keys.key import Key, hashed

RECORD = {
    "id": "file-" + "0" * 44,
    "owner": "key.alice",
    "filename": "a.png",
    "bytes": 1,
    "sha256": "0" * 64,
    "modality": "image",
    "purpose": "vision",
    "created_at": 1,
    "expires_at": None,
}


def test_ids_are_all_different_and_known_as_ids() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(is_id, ids))
    # 32 digits after the time, of which no two ids have the same.
    assert len({name[-32:] for name in ids}) == 1000


@pytest.mark.parametrize(
    "text", ["", "file-", "file-abc", "file-" + "g" * 44, "file-" + "0" * 45, "file-" + "0" * 44 + "\n"]
)
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("cat.png", "cat.png"),
        ("my cat.png", "my cat.png"),
        ("kucing-猫.png", "kucing-猫.png"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/etc/", "etc"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("a\r\nset-cookie: x=1", "aset-cookie: x=1"),
        ("\x1b[2Jcat\u202egnp.exe", "[2Jcatgnp.exe"),
        ("\ud800x", "x"),
        ("a" * 400, "a" * LONGEST_NAME),
    ],
)
def test_names_are_shown_without_paths_and_controls(given_name: str, shown: str) -> None:
    assert shown_name(given_name) == shown


@given(st.text())
def test_any_name_becomes_a_harmless_one(given_name: str) -> None:
    shown = shown_name(given_name)
    assert 1 <= len(shown) <= LONGEST_NAME
    assert shown not in (".", "..")
    assert not set(shown) & set("/\\")
    assert all(unicodedata.category(character)[0] != "C" for character in shown)
    assert shown_name(shown) == shown


def test_owners_are_namespaces_that_no_name_of_a_key_can_leave() -> None:
    assert owner_of(None) == "open"
    assert owner_of(Key(name="open", hash=hashed("a"))) == "key.open"
    for owner in ("key.", "key.../x", "other", "key.a/b", "open\n"):
        with pytest.raises(ValidationError):
            StoredFile.model_validate(RECORD | {"owner": owner})


def test_a_record_is_what_openai_shows() -> None:
    assert StoredFile.model_validate(RECORD).shown() == {
        "id": "file-" + "0" * 44,
        "object": "file",
        "bytes": 1,
        "created_at": 1,
        "expires_at": None,
        "filename": "a.png",
        "purpose": "vision",
        "status": "processed",
    }
