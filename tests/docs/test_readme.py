"""Runs every command and snippet of the README; a block that no rule knows is a failure."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from model.containers import CONTAINER_FORMATS
from model.encoders import encoder_config
from model.media import DEFAULT_LIMITS, IMAGE_FORMATS, SOUND_FORMATS
from server.middleware.routes import ROUTES
from server.settings import ServerSettings
from tests.docs.deployment import Deployment
from tests.docs.markdown import ROOT, Block, blocks, prose
from tests.docs.workshop import Workshop, workshop
from tests.support.reference import audio, image, text, user
from tests.support.serving import ServerProcess
from training.recipe import RECIPES, parse_recipe, read_recipe

README = "README.md"
ADDRESS = "http://127.0.0.1:8000"


def rule_of(block: Block) -> str | None:
    """Which of the tests below runs a block."""
    if block.language == "sh":
        rules = {"make": "make", "quartet": "quartet", "docker": "deploy", "helm": "deploy"}
        (program, *others) = block.programs
        return "shell" if others else rules.get(program, "shell")
    return {"python": "python", "yaml": "recipe", "text": "layout"}.get(block.language)


def of(rule: str) -> list[Block]:
    return [block for block in blocks(README) if rule_of(block) == rule]


def test_every_block_is_run() -> None:
    assert [str(block) for block in blocks(README) if rule_of(block) is None] == []
    assert {rule_of(block) for block in blocks(README)} == {
        "make", "quartet", "shell", "python", "recipe", "layout", "deploy",
    }  # fmt: skip


@pytest.mark.parametrize("block", of("make"), ids=str)
def test_make(block: Block) -> None:
    """Make itself says whether the target exists and its recipe expands; running it would run this very test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for words in block.commands:
        done = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    deployment = Deployment()
    for block in of("deploy"):
        for words in block.commands:
            deployment.run(words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    (recipe,) = of("recipe")
    with workshop(tmp_path_factory.mktemp("readme"), yaml.safe_load(recipe.text)) as prepared:
        yield prepared


@pytest.mark.parametrize("block", of("quartet"), ids=str)
def test_quartet_commands(block: Block, place: Workshop) -> None:
    """In the order of the README, because later commands use what earlier ones made."""
    commands = of("quartet")
    shown = place.run(commands[: commands.index(block) + 1])
    for words in block.commands:
        if words[1] == "data" and words[2] == "check":
            assert "no problems" in shown
        if words[1] == "train":
            assert Path(words[words.index("--output") + 1], "checkpoint/projectors.safetensors").is_file()
        if words[1] == "eval":
            scores = json.loads(Path(words[words.index("--output") + 1], "scores.json").read_text())
            tasks = {"speech/digits-en", "scenes/colour"} if words[2].startswith("runs/demo") else {"things"}
            assert tasks <= {score["task"].split("/")[0] if tasks == {"things"} else score["task"] for score in scores}
        if words[1] == "serve":
            flags = place.served.pop(0)
            for option in ("--port", "--host"):
                assert option not in words or flags[flags.index(option) + 1] == words[words.index(option) + 1]


def test_the_recipe_is_real() -> None:
    """As it stands there: every key is known, and its encoders are those of the demo."""
    (block,) = of("recipe")
    recipe = parse_recipe(yaml.safe_load(block.text), where=str(block))
    demo = read_recipe(RECIPES / "demo.yaml")
    for name, modality in recipe.modalities.items():
        assert modality.part == demo.modalities[name].part
        assert encoder_config(modality.encoder) == encoder_config(demo.modalities[name].encoder)


@pytest.mark.e2e
@pytest.mark.parametrize("block", of("shell"), ids=str)
def test_shell(block: Block, server: ServerProcess) -> None:
    """As a user would type it, with another address and model name; the virtual environment is already active."""
    if "curl" in block.text and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = block.text.replace(". .venv/bin/activate\n", "").replace(ADDRESS, server.url)
    script = script.replace('"demo"', f'"{server.model}"')
    script = re.sub(r"\bquartet chat\b", f"quartet chat --url {server.url}/v1 --max-tokens 8", script)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "curl" in block.text:
        expected = server.chat([example_question()], max_tokens=48).json()["choices"][0]["message"]
        assert json.loads(done.stdout)["choices"][0]["message"]["content"] == expected["content"]
    else:
        assert done.stdout.strip()
    assert server.healthy(), server.tail()


@pytest.mark.e2e
@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python(block: Block, server: ServerProcess) -> None:
    program = block.text.replace(ADDRESS, server.url).replace('"demo"', f'"{server.model}"')
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert server.healthy(), server.tail()


def test_the_layout_is_that_of_the_repository() -> None:
    (block,) = of("layout")
    named = {line.split()[0].rstrip("/") for line in block.text.splitlines()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert named == folders


def test_facts_are_those_of_the_code() -> None:
    """Formats, limits and routes, as the section on the API lists them."""
    words = prose(README)
    section = words.partition("What the API takes and gives")[2].partition("\n## ")[0]
    shown = " ".join(section.split())
    for name in {*IMAGE_FORMATS, *SOUND_FORMATS, *CONTAINER_FORMATS} - {"WEBP", "WEBM", "WAVEX", "RF64"} | {
        "WebP",
        "WebM",
    }:
        assert re.search(rf"\b{name}\b", shown), name
    for route in ROUTES:
        assert f"`{route}`" in shown, route
    assert f"{ServerSettings().max_media} media of each kind" in shown
    assert f"{DEFAULT_LIMITS.max_bytes >> 20} MiB and {DEFAULT_LIMITS.max_pixels // 10**6} million pixels" in shown
    demo = read_recipe(RECIPES / "demo.yaml")
    hears = encoder_config(demo.modalities["audio"].encoder)
    assert f"at most {getattr(hears, 'max_seconds', None):g} seconds" in shown


def example_question() -> dict[str, object]:
    """The question of the snippets, made anew."""
    picture = (ROOT / "server/examples/cat.png").read_bytes()
    sound = (ROOT / "server/examples/seven.wav").read_bytes()
    return user(image(data=picture), audio(data=sound), text("What is in the picture, and what is said?"))
