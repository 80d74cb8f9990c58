"""Reads Markdown as far as the tests of the documentation need it: fenced blocks, headings, links, inline code."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Its lines as words, comments left out; for blocks of one command a line."""
        return [words for line in self.text.splitlines() if (words := shlex.split(line, comments=True))]

    @property
    def programs(self) -> set[str]:
        """The first word of every line."""
        return {line.split()[0] for line in self.text.splitlines() if line.strip()}


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a file of the repository, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [Block(name, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in _FENCE.finditer(text)]
    assert len(re.findall(r"^ *(```|~~~)", text, re.M)) == 2 * len(found), f"{name}: a fence that is not understood"
    return found


def prose(name: str) -> str:
    """The text outside fenced blocks."""
    return _FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))


def inline_code(name: str) -> list[str]:
    """What stands between backticks outside fenced blocks, as one line each."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(name))]


def links(name: str) -> list[str]:
    """The targets of links and pictures outside fenced blocks."""
    return _LINK.findall(prose(name))


def anchors(name: str) -> set[str]:
    """What a link may name after #: headings in lower case, without punctuation, with dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(name), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-") for heading in headings}


def markdown_files() -> list[str]:
    """Every Markdown file of the repository; ignored ones and what tests compare with are left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = listing.stdout.splitlines() or ["README.md", "CONTRIBUTING.md"]
    return sorted(name for name in names if (ROOT / name).is_file() and not name.startswith("tests/"))
