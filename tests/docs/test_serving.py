"""Runs what docs/serving.md says, and compares its table with the code."""

import json
import re
from pathlib import Path

import pytest

from model.cli import main
from server.errors import CODES, ApiError
from server.middleware.body import MIN_RATE
from server.routes.tokens import OBJECT
from server.settings import ServerSettings, load
from tests.docs.markdown import ROOT, blocks, inline_code, prose

DOCUMENT = "docs/serving.md"
BLOCKS = {block.language: block for block in blocks(DOCUMENT)}


def test_settings_and_their_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quartet.yaml").write_text(BLOCKS["yaml"].text)
    ((program, *arguments),) = BLOCKS["sh"].commands
    assert program == "quartet"
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert not left.value.code
    shown = capsys.readouterr().out
    assert shown.startswith(BLOCKS["text"].text)
    assert re.search(r"^port: 9000 +# --port$", shown, re.M)
    Path("again.yaml").write_text(shown)
    assert load({}, "again.yaml").settings == load({"port": 9000}, "quartet.yaml").settings


def test_errors_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| `(\w+)` \|$", prose(DOCUMENT), re.M)
    answered = {status: ApiError(status=status, message="").content for status in CODES if status != 422}
    assert rows == [(str(status), error["type"], error["code"]) for status, error in answered.items()]


def test_facts_are_those_of_the_code() -> None:
    assert f"{MIN_RATE >> 10} KiB a second" in prose(DOCUMENT)
    counted = json.loads(BLOCKS["json"].text)
    assert counted["object"] == OBJECT
    assert sum(counted["prompt_tokens_details"].values()) == counted["prompt_tokens"]
    assert counted["context_length"] - counted["prompt_tokens"] == counted["max_completion_tokens"]
    sources = "".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))
    sources += (ROOT / "model/errors.py").read_text()
    for code in inline_code(DOCUMENT):
        if re.fullmatch(r"(invalid|missing|media|too_many|context|model)_[a-z_]+", code) and code not in CODES.values():
            assert f'"{code}"' in sources, code


def test_bounds_of_connections_are_those_of_the_code() -> None:
    rows = re.findall(r"\| `(\w+)`(?:, seconds)? \| ([\d.]+) \|$", prose(DOCUMENT), re.M)
    assert len(rows) == 5
    defaults = ServerSettings()
    assert rows == [(name, str(getattr(defaults, name))) for name, _ in rows]
