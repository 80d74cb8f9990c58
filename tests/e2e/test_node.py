"""The official Node client; where node can load the package `openai` (NODE_PATH), otherwise skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.reference import audio, image
from tests.support.serving import ServerProcess

SCRIPT = Path(__file__).resolve().parents[1] / "clients" / "openai_node.cjs"


def has_client() -> bool:
    node = shutil.which("node")
    return node is not None and subprocess.run([node, "-e", "require('openai')"], capture_output=True).returncode == 0


def test_official_node_client(server: ServerProcess) -> None:
    if not has_client():
        pytest.skip("node cannot load the package openai: npm install openai, then set NODE_PATH to its node_modules")
    picture, sound = image(0)["image_url"]["url"], audio(0)["input_audio"]["data"]
    command = ["node", str(SCRIPT), f"{server.url}/v1", picture, sound]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "all checks passed" in done.stdout
