"""Runs the commands of docs/synthesis.md, and holds its tables and examples to the code."""

import json
import re
from pathlib import Path

import pytest

from model.cli import main
from tests.docs.markdown import Block, blocks, prose
from tests.training.synthesis.fake_endpoint import FakeEndpoint
from tests.training.synthesis.parts import sample, world, write
from training.data import read_samples
from training.synthesis.annotations import KINDS as ANNOTATIONS
from training.synthesis.filters import REASONS
from training.synthesis.gather import RULES, gather
from training.synthesis.kinds import KINDS

PAGE = "docs/synthesis.md"
ADDRESS = "http://localhost:8000/v1"


def of(language: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == language]


def test_every_block_is_run() -> None:
    assert {block.language for block in blocks(PAGE)} == {"sh", "json"}
    assert all(words[:3] == ["quartet", "data", "synthesise"] for block in of("sh") for words in block.commands)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources that the page names, small."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("scenes", "stamps", "speech"):
        world(folder / "data/corpus" / name)
    return folder


@pytest.mark.parametrize("block", of("sh"), ids=str)
def test_commands(
    block: Block, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(corpus)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with FakeEndpoint() as server:
        for words in block.commands:
            asked = len(server.requests)
            with pytest.raises(SystemExit) as end:
                main([server.url if word == ADDRESS else word for word in words[1:]])
            assert end.value.code in (0, None), capsys.readouterr().err
            output = Path(words[words.index("--output") + 1])
            samples = read_samples(output / "train.jsonl")
            assert f"{len(samples)} samples" in capsys.readouterr().out
            assert (len(server.requests) > asked) == ("--model" in words)


def test_the_example_of_meta_is_read(tmp_path: Path) -> None:
    (block,) = of("json")
    value = sample("1", "a.png", "", "A dog.", **json.loads(block.text))
    (medium,) = gather([write(tmp_path, [value]) / "train.jsonl"]).media
    assert {each.kind for each in medium.annotations} == set(ANNOTATIONS) - {"name"}


def test_tables_are_those_of_the_code() -> None:
    text = prose(PAGE)
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|$", text, re.M))
    assert rows == REASONS
    assert re.findall(r"^\| `([a-z]+)` \| \w.*\|.*\|.*\|$", text, re.M) == list(KINDS)
    assert all(f"`{pattern}`" in text for _, pattern in RULES)
