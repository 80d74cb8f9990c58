"""The clients that people use, by benchmarks/clients.sh; skipped where it has not installed them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.sources import cache_directory
from tests.docs.markdown import ROOT
from tests.support.serving import ServerProcess


def test_every_client(server: ServerProcess, tiny_checkpoint: Path) -> None:
    clients = cache_directory() / "clients"
    if not os.environ.get("CLIENTS"):
        pytest.skip("set CLIENTS=1: LangChain and LiteLLM take minutes to load")
    if not (clients / "venv/bin/litellm").is_file() or not (clients / "node/node_modules/openai").is_dir():
        pytest.skip(f"no clients in {clients}: run benchmarks/clients.sh once")
    done = subprocess.run(
        ["sh", "benchmarks/clients.sh", f"{server.url}/v1", str(tiny_checkpoint.parent / "llm")],
        cwd=ROOT,
        env=os.environ | {"PYTHON": sys.executable, "QUARTET_CACHE": str(clients.parent)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    print(done.stdout)
    for line in ("openai-python", "openai-node", "langchain-openai", "litellm", "curl"):
        assert f"\n{line}" in done.stdout
    assert done.stdout.count("passed") == 4
    figures = done.stdout.partition("Serving Benchmark Result")[2].splitlines()
    assert any(line.startswith("Successful requests:") and line.endswith(" 8") for line in figures), done.stdout
