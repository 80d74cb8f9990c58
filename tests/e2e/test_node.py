"""The official Node client; skipped where node cannot load the package `openai` (NODE_PATH, or kept by .ci/run)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from model.sources import cache_directory
from tests.support.reference import audio, image
from tests.support.serving import ServerProcess

SCRIPT = Path(__file__).resolve().parents[1] / "clients" / "openai_node.cjs"


@pytest.fixture
def environment() -> dict[str, str]:
    """Where node finds the client."""
    kept = str(cache_directory() / "clients" / "node" / "node_modules")
    environment = os.environ | {"NODE_PATH": os.pathsep.join(filter(None, (os.environ.get("NODE_PATH"), kept)))}
    node = shutil.which("node")
    command = [node or "", "-e", "require('openai')"]
    if node is None or subprocess.run(command, env=environment, capture_output=True).returncode != 0:
        pytest.skip("node cannot load the package openai: npm install openai, then set NODE_PATH to its node_modules")
    return environment


def test_official_node_client(server: ServerProcess, environment: dict[str, str]) -> None:
    picture, sound = image(0)["image_url"]["url"], audio(0)["input_audio"]["data"]
    command = ["node", str(SCRIPT), f"{server.url}/v1", picture, sound]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "all checks passed" in done.stdout
