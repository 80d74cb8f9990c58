"""Compares docs/playground.md with the page and the settings."""

import re

import pytest

from model.containers import CONTAINER_FORMATS
from model.media import IMAGE_FORMATS, SOUND_FORMATS
from server.page import STATIC, page
from server.settings import ServerSettings
from tests.docs.markdown import ROOT, inline_code, prose

DOCUMENT = "docs/playground.md"
SOURCES = {path.name: path.read_text() for path in (STATIC / "js").glob("*.js")}


def test_it_is_off_unless_enabled() -> None:
    assert ServerSettings().playground is False
    assert "playground=True" in (ROOT / "server/demo.py").read_text()


def test_facts_are_those_of_the_page() -> None:
    words = " ".join(prose(DOCUMENT).split())
    (converted,) = re.findall(r"does not decode \(([^)]*)\)", words)
    formats = {name.upper() for name in re.findall(r"\w+", converted)}
    assert not formats & {*IMAGE_FORMATS, *SOUND_FORMATS, *CONTAINER_FORMATS}
    known = {name.upper() for name in re.findall(r'"(?:image|audio)", "(\w+)"', SOURCES["media.js"])}
    assert formats <= known
    assert {"OPENAI_API_KEY", "conversation.jsonl", "conversation.zip"} <= set(inline_code(DOCUMENT))
    assert 'KEY_VARIABLE = "OPENAI_API_KEY"' in SOURCES["snippets.js"]
    for name in ("conversation.jsonl", "conversation.zip"):
        assert f'"{name}"'.replace("conversation", "${FOLDER}").strip('"') in SOURCES["archive.js"]
    assert "sessionStorage" in SOURCES["settings.js"]
    assert "require-trusted-types-for" in page().policy
    assert not re.search(r"\bmake\(\"(?:a|img)\"", SOURCES["markdown.js"]), "no links and no pictures"


@pytest.mark.parametrize("name", ["light", "dark", "phone"])
def test_pictures_are_small(name: str) -> None:
    path = ROOT / f"docs/playground-{name}.png"
    assert path.stat().st_size < 200_000
    assert any(path.name in (ROOT / document).read_text() for document in ("README.md", DOCUMENT))
