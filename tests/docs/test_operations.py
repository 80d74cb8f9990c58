"""Compares docs/operations.md with the code."""

from pathlib import Path

from server.keys.middleware import OPEN
from server.life.drain import CODE
from server.life.end import ENGINE_DIED, WARM_UP_FAILED
from server.settings import load
from tests.docs.markdown import ROOT, blocks, inline_code, prose

DOCUMENT = "docs/operations.md"


def test_settings(tmp_path: Path) -> None:
    (block,) = blocks(DOCUMENT)
    file = tmp_path / "quartet.yaml"
    file.write_text(block.text)
    settings = load({}, str(file)).settings
    assert (settings.max_running, settings.max_waiting, settings.max_wait) == (64, 128, 10.0)


def test_facts_are_those_of_the_code() -> None:
    text = " ".join(prose(DOCUMENT).split())
    assert f"exit status {ENGINE_DIED}" in text
    assert f"exit status {WARM_UP_FAILED}" in text
    assert {f"GET {path}" for path in OPEN} <= set(inline_code(DOCUMENT))
    life = "".join(path.read_text() for path in (ROOT / "server/life").glob("*.py"))
    assert CODE == "server_ending"
    assert {CODE, "grace_seconds"} <= set(inline_code(DOCUMENT))
    assert all(f'"{code}"' in life for code in ("not_ready", "server_overloaded"))
