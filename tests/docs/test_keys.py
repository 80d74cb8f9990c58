"""Runs what docs/keys.md says."""

import re
from pathlib import Path

import pytest

from model.cli import main
from server.keys.file import parse
from server.keys.key import MIN_SECRET, Key
from server.keys.source import INTERVAL
from server.limits.counters import PATIENCE, PAUSE
from server.settings import ServerSettings
from tests.docs.markdown import blocks, inline_code, prose

DOCUMENT = "docs/keys.md"
BLOCKS = {block.language: block for block in blocks(DOCUMENT)}


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUARTET_KEYS_FILE", raising=False)
    told = []
    for program, *arguments in BLOCKS["sh"].commands:
        assert program == "quartet"
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert not left.value.code
        told.append(capsys.readouterr().out)
    assert told[0].startswith("qk-")
    assert told[2].strip() == BLOCKS["text"].text.strip()
    assert [key.name for key in parse(Path("keys.yaml").read_text(), "")] == ["ops"]


def test_facts_are_those_of_the_code() -> None:
    (key,) = parse(BLOCKS["yaml"].text, "")
    assert (key.name, key.models) == ("alice", ("demo",))
    assert f"at least {MIN_SECRET} characters" in prose(DOCUMENT)
    assert INTERVAL == 1
    assert {"keys_file", "api_key", "metrics_access"} <= set(ServerSettings.model_fields) & set(inline_code(DOCUMENT))
    assert {"limits_url", "limits_without_store"} <= set(ServerSettings.model_fields) & set(inline_code(DOCUMENT))
    flags = {
        name[2:].replace("-", "_") for name in inline_code(DOCUMENT) if re.fullmatch("--.*(per-minute|requests)", name)
    }
    assert flags == {name for name in Key.model_fields if re.fullmatch(".*(per_minute|concurrent_requests)", name)}
    assert (ServerSettings().limits_without_store, PATIENCE, PAUSE) == ("open", 0.5, 1.0)
    assert ServerSettings().metrics_access == "admin"
