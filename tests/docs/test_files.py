"""Compares docs/files.md with the code, and runs its Python."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from server.files.stored import PURPOSES
from server.keys.key import Key
from server.routes.files import LONGEST, SHORTEST
from server.settings import ServerSettings, load
from tests.docs.markdown import ROOT, Block, blocks, inline_code, prose
from tests.support.serving import ServerProcess

DOCUMENT = "docs/files.md"
SETTINGS = [block for block in blocks(DOCUMENT) if block.language == "yaml"]


@pytest.mark.parametrize("block", SETTINGS, ids=["folder", "bucket"])
def test_settings(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "quartet.yaml"
    file.write_text(block.text)
    loaded = load({}, str(file))
    assert sum(origin == str(file) for origin in loaded.origins.values()) == len(block.text.splitlines())


@pytest.mark.e2e
def test_python(server: ServerProcess) -> None:
    (example,) = (block.text for block in blocks(DOCUMENT) if block.language == "python")
    program = example.replace("http://127.0.0.1:8000", server.url).replace('"demo"', f'"{server.model}"')
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f", {(ROOT / 'server/examples/cat.png').stat().st_size})" in done.stdout


def test_facts_are_those_of_the_code() -> None:
    text = (ROOT / DOCUMENT).read_text()
    words = set(inline_code(DOCUMENT))
    assert set(PURPOSES) <= words
    assert f"{SHORTEST} to {LONGEST}" in text
    assert {"max_files", "max_files_bytes"} <= set(Key.model_fields) & set(ServerSettings.model_fields) & words
    named = {word for word in words if re.fullmatch("files_(dir|url|endpoint|region|expire.*|sweep.*)", word)}
    assert named <= set(ServerSettings.model_fields)
    code = "".join(path.read_text() for path in [*(ROOT / "server").rglob("*.py"), ROOT / "model/errors.py"])
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", text, re.MULTILINE)
    assert len(rows) == 8
    assert all(f'"{name}"' in code for _, name in rows)
    assert "Ids hold 128 random bits" in prose(DOCUMENT)
