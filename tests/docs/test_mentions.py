"""What the documentation mentions exists: linked files, headings, commands with their options, targets, variables."""

import re
import shlex
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest
import typer

from model.cli import build_app, offered_commands
from tests.docs.markdown import ROOT, anchors, blocks, inline_code, links, markdown_files

DOCUMENTS = ("README.md", "CONTRIBUTING.md")


@pytest.mark.parametrize("name", markdown_files())
def test_links_lead_somewhere(name: str) -> None:
    wrong = []
    for link in links(name):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(path.relative_to(ROOT).as_posix()):
            wrong.append(f"{link}: no such heading")
    assert wrong == []


def mentioned(program: str) -> list[list[str]]:
    """Command lines of `program` in the documents, in blocks and in running text."""
    lines = [
        line
        for name in DOCUMENTS
        for block in blocks(name)
        if block.language == "sh"
        for line in block.text.split("\n")
    ]
    lines = [part.strip() for line in lines for part in line.split("|")]
    lines += [code for name in DOCUMENTS for code in inline_code(name)]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


def test_commands_and_options_exist() -> None:
    app = typer.main.get_command(build_app(offered_commands()))
    checked = 0
    for words in mentioned("quartet"):
        command, rest = app, words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]  # type: ignore[attr-defined]
        assert command is not app or rest[0].startswith("-"), f"{shlex.join(words)}: no such command"
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        unknown = [word for word in rest if word.startswith("--") and word != "--" and word.split("=")[0] not in known]
        assert unknown == [], shlex.join(words)
        checked += 1
    assert checked > 8


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {word for words in mentioned("make") for word in words[1:] if "=" not in word}
    assert {"demo", "test"} <= named <= targets


def test_environment_variables_exist() -> None:
    code = subprocess.run(
        ["grep", "-rhoE", "--include=*.py", "QUARTET_[A-Z_]+", "model", "server", "training", "tools"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in DOCUMENTS:
        assert set(re.findall(r"QUARTET_[A-Z_]+", (ROOT / name).read_text())) <= set(code)


def test_the_help_of_every_command_fits_on_a_line() -> None:
    """Typer cuts longer ones off in `quartet --help`."""
    app = typer.main.get_command(build_app(offered_commands()))
    for command in app.commands.values():  # type: ignore[attr-defined]
        assert not command.get_short_help_str(limit=70).endswith("..."), command.name


def test_pictures_are_readable() -> None:
    """The drawing names itself for readers who cannot see it, and knows dark pages."""
    for path in (ROOT / "docs").glob("*.svg"):
        drawing = ElementTree.parse(path).getroot()
        space = {"svg": "http://www.w3.org/2000/svg"}
        assert drawing.findtext("svg:title", namespaces=space)
        assert drawing.findtext("svg:desc", namespaces=space)
        assert "prefers-color-scheme: dark" in (drawing.findtext("svg:style", namespaces=space) or "")
