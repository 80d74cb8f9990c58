"""Runs every command of docs/training.md, reads its recipe, holds its reference to the classes that read recipes."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.markdown import ROOT, Block, blocks
from tests.docs.workshop import RECIPE, Workshop, workshop
from tests.training.test_report import meter
from training.batches import PADDING
from training.progress import line
from training.recipe import parse_recipe, read_recipe
from training.signals import Interrupted
from training.stage import parse_stage

PAGE = "docs/training.md"
README = "README.md"


def of(language: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == language]


def base_recipe() -> dict[str, Any]:
    """The README's recipe, which the stages of this page go into."""
    (block,) = [block for block in blocks(README) if block.language == "yaml"]
    values: dict[str, Any] = yaml.safe_load(block.text)
    return values


def page_recipe() -> dict[str, Any]:
    block, _ = of("yaml")
    # YAML's own reader takes 1e-3 for a text; a recipe's does not.
    stages = yaml.safe_load(block.text.replace("1e-3", "1.0e-3").replace("2e-5", "2.0e-5").replace("2e-4", "2.0e-4"))
    return {**base_recipe(), "adapter": {"rank": 4}, **stages}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("training"), base_recipe()) as prepared:
        # The page's stages and adapter on the workshop's tiny parts, whose tokenizer knows hardly any word.
        stages = [{**stage, "max_length": 512, "batch_tokens": 2048} for stage in page_recipe()["stages"]]
        values = {**yaml.safe_load(Path(RECIPE).read_text()), "adapter": {"rank": 4}, "stages": stages}
        Path("mine.yaml").write_text(yaml.safe_dump(values))
        prepared.quartet(["data", "build", "corpus"])
        yield prepared


def test_the_page_shows_no_block_that_is_not_run() -> None:
    assert {block.language for block in blocks(PAGE)} == {"sh", "yaml", "text"}
    programs = [program for block in of("sh") for program in block.programs]
    assert set(programs) == {"quartet", "tensorboard", "torchrun"}


def test_the_commands_run(place: Workshop) -> None:
    """Train, serve what was trained, and resume where there is nothing left to do."""
    commands = [block for block in of("sh") if set(block.programs) == {"quartet"}]
    place.run(commands)
    output = Path("runs/mine")
    assert {path.name for path in output.iterdir()} >= {
        "checkpoint", "report.md", "curves.png", "log.jsonl", "tensorboard", "stage-align", "stage-joint",
    }  # fmt: skip
    entries = [json.loads(text) for text in (output / "log.jsonl").read_text().splitlines()]
    assert {entry["stage"] for entry in entries} == {"align", "joint"}
    assert any("eval_accuracy" in entry for entry in entries)


def test_the_recipe_is_real() -> None:
    recipe = parse_recipe(page_recipe(), where=PAGE)
    assert [stage.name for stage in recipe.stages] == ["align", "joint"]


def test_the_stage_of_one_group_is_real() -> None:
    _, block = of("yaml")
    (stage,) = (parse_stage(values, PAGE) for values in yaml.safe_load(block.text)["stages"])
    assert read_recipe(Path("demo")).groups(stage) == {"image": {1}, "audio": set()}, "of the page's task"


@pytest.mark.parametrize("block", [b for b in of("sh") if set(b.programs) != {"quartet"}], ids=str)
def test_other_programs_are_there_and_know_their_options(block: Block) -> None:
    """They would run until they are stopped, or on several GPUs; what they are given is what they say they take."""
    for words in block.commands:
        program = shutil.which(words[0], path=str(Path(sys.executable).parent))
        assert program is not None, words[0]
        usage = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
        for word in words[1:3]:
            assert not word.startswith("--") or word in usage, word


def test_the_reference_is_that_of_the_code() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "recipe_reference.py"))
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert page == tool["renewed"](page), "run `python tools/recipe_reference.py`"


def test_the_numbers_are_those_of_the_code() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert f"at most {100 * PADDING:.0f} %" in page
    assert (Interrupted(2, True).status, Interrupted(15, True).status) == (130, 143)
    assert "status 130 and 143" in page
    (shown,) = of("text")
    ours = line("align", 5, meter(), {"loss": 1.234, "learning_rate": 1.87e-3})
    assert [part.split()[1:] for part in shown.text.split(", ")[3:5]] == [["samples/s"], ["tokens/s"]]
    assert [word for word in ours.split() if word.isalpha()] == [word for word in shown.text.split() if word.isalpha()]
