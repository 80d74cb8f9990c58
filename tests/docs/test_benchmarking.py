"""Runs what docs/benchmarking.md says, with fewer requests, and compares its facts with the code."""

import re
import subprocess
from pathlib import Path

import pytest
import typer

from model.cli import build_app, offered_commands
from server.bench.compare import DRAWS, MIN_PAIRS
from tests.docs.markdown import blocks, inline_code, prose
from tests.support.serving import QUARTET, ServerProcess

DOCUMENT = "docs/benchmarking.md"
COMMANDS = [words for block in blocks(DOCUMENT) for words in block.commands]


@pytest.mark.e2e
def test_commands(server: ServerProcess, tmp_path: Path) -> None:
    for program, *arguments in COMMANDS:
        assert program == "quartet"
        given = [f"{server.url}/v1" if word.startswith("http://") else word for word in arguments]
        small = ["--url", f"{server.url}/v1", "--requests", "4", "--output-tokens", "4", "--warm-up", "1"]
        # The last one of an option wins.
        done = subprocess.run(
            [str(QUARTET), *given, *small], cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "0 of 4" in done.stdout
    assert (tmp_path / "bench.json").is_file()


def test_facts_are_those_of_the_code() -> None:
    text = " ".join(prose(DOCUMENT).split())
    assert f"{DRAWS:,} draws" in text
    assert MIN_PAIRS == 5
    command = typer.main.get_command(build_app(offered_commands())).commands["bench"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    named = {word for code in inline_code(DOCUMENT) for word in code.split() if re.match("--[a-z]", word)}
    assert named <= known
    assert {word for words in COMMANDS for word in words if word.startswith("--")} <= known
