"""Runs what docs/keys.md says."""

from pathlib import Path

import pytest

from model.cli import main
from server.keys.file import parse
from server.keys.key import MIN_SECRET
from server.keys.source import INTERVAL
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
    assert ServerSettings().metrics_access == "admin"
