"""Compares docs/performance.md with the programs it is about."""

import re

from server.settings import MIDDLEWARE
from tests.docs.markdown import ROOT, blocks, inline_code, prose

DOCUMENT = "docs/performance.md"


def test_commands_are_there() -> None:
    for block in blocks(DOCUMENT):
        for program, script, *options in block.commands:
            assert program == "python"
            source = (ROOT / script).read_text()
            assert all(f'"{option}"' in source for option in options if option.startswith("--")), script


def test_the_limits_are_those_that_are_checked() -> None:
    source = (ROOT / "benchmarks/overhead.py").read_text()
    text = prose(DOCUMENT)
    for limit, words in (("1.03", "at most 1.03"), ("0.97", "at least 0.97"), ("1.5", "at least 1.5")):
        assert words in text
        assert f", {limit}, " in source


def test_every_middleware_is_named() -> None:
    named = {code for code in inline_code(DOCUMENT) if re.fullmatch(r"[A-Z]\w+", code)}
    assert named == {name.rpartition(".")[2] for name in MIDDLEWARE}
