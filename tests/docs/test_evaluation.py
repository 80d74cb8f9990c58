"""Runs what docs/evaluation.md says: commands on a tiny checkpoint and server, its task in lmms-eval if there is one.

lmms-eval brings too much to be a dependency of the tests. Where its own environment exists, LMMS_EVAL_PYTHON names its
interpreter; the test is skipped without.
"""

import contextlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from model import cli
from tests.docs.markdown import Block, blocks, prose
from tests.support.serving import ServerProcess
from tests.training.evaluation.corpora import write_test_corpus
from training.data import read_samples
from training.evaluation import mmmu
from training.evaluation.report import SHOWN
from training.evaluation.scoring import BENCHMARKS, check

PAGE = "docs/evaluation.md"
ADDRESS = "http://127.0.0.1:8000/v1"
SHELL = [block for block in blocks(PAGE) if block.language == "sh"]
QUARTET = [block for block in SHELL if block.programs == {"quartet"}]
LOCAL = [block for block in QUARTET if ADDRESS not in block.text]
REMOTE = [block for block in QUARTET if ADDRESS in block.text]
LMMS = [block for block in SHELL if block.programs != {"quartet"}]
(SAMPLE,) = (block for block in blocks(PAGE) if block.language == "json")
(TASK,) = (block for block in blocks(PAGE) if block.language == "yaml")
(FUNCTIONS,) = (block for block in blocks(PAGE) if block.language == "python")


def test_every_block_is_run() -> None:
    known = {*LOCAL, *REMOTE, *LMMS, SAMPLE, TASK, FUNCTIONS}
    assert [str(block) for block in blocks(PAGE) if block not in known] == []
    assert (len(LOCAL), len(REMOTE), len(LMMS)) == (3, 1, 3)


@pytest.fixture(scope="module")
def place(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page's commands name: `corpus` and two checkpoints under `runs`."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_test_corpus(folder / "corpus", each=2)
    for name in ("demo", "other"):
        # With the frozen parts, which it names by relative paths.
        shutil.copytree(tiny_checkpoint.parent, folder / "runs" / name)
    return folder


@pytest.fixture
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("QUARTET_CACHE", str(place / "cache"))
    return place


def quartet(words: list[str]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code in (0, None), f"quartet {' '.join(words)} ended with status {end.value.code}"
    return output.getvalue()


@pytest.mark.parametrize("block", LOCAL, ids=str)
def test_commands(block: Block, inside: Path) -> None:
    for words in block.commands:
        shown = quartet(words[1:])
        assert shown.startswith("| task |"), shown
        if words[1] == "compare":
            assert "| all | exact |" in shown
            continue
        output = Path(words[words.index("--output") + 1])
        assert {path.name for path in output.iterdir()} >= {"scores.md", "scores.json", "metrics.json"}
        assert ("## METEOR" in shown) is ("--fast" not in words)


@pytest.mark.e2e
@pytest.mark.parametrize("block", REMOTE, ids=str)
def test_commands_to_a_server(block: Block, inside: Path, server: ServerProcess) -> None:
    for words in block.commands:
        shown = quartet([word.replace(ADDRESS, f"{server.url}/v1") for word in words[1:]])
        assert "## Perplexity" in shown
        assert "failed" not in shown
        scores = json.loads(Path(words[words.index("--output") + 1], "scores.json").read_text())
        assert {score["task"]: score["ceiling"] for score in scores}["scenes/colour"] == 1.0


def test_the_sample_is_real(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "media/7.jpg")
    (tmp_path / "test.jsonl").write_text(SAMPLE.text)
    (sample,) = read_samples(tmp_path / "test.jsonl")
    check(sample)
    assert len(sample.meta["answers"]) == 10


def test_every_metric_and_option_is_explained() -> None:
    text = prose(PAGE)
    for heading, _ in SHOWN.values():
        words = heading.split()
        assert all(word.lower() in text.lower() for word in words), heading
    for name in BENCHMARKS:
        assert f"`{name}`" in text
    assert "from one generator" in text
    assert mmmu.SEED == 42
    command = get_command(cli.build_app(cli.offered_commands())).commands["eval"]  # type: ignore[attr-defined]
    commands = " ".join(block.text for block in QUARTET) + text
    # Their help says all there is to say.
    obvious = {"--max-tokens"}
    for parameter in command.params:
        assert any(option in commands or option in obvious for option in parameter.opts), parameter.opts


def lmms_python() -> str | None:
    """The interpreter that has lmms-eval."""
    if named := os.environ.get("LMMS_EVAL_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("lmms_eval") else None


@pytest.mark.e2e
@pytest.mark.skipif(lmms_python() is None, reason="lmms-eval is not installed; LMMS_EVAL_PYTHON names an interpreter")
def test_a_local_task_in_lmms_eval(server: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "lmms-colours"
    folder.mkdir()
    (folder / "colours.yaml").write_text(TASK.text)
    (folder / "functions.py").write_text(FUNCTIONS.text)
    lines = []
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (32, 32), colour).save(folder / f"{colour}.png")
        lines.append({"picture": f"lmms-colours/{colour}.png", "question": "Which colour?", "answer": colour})
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (words,) = LMMS[-1].commands
    words = [
        word.replace(ADDRESS, f"{server.url}/v1").replace("model_version=demo", "model_version=tiny") for word in words
    ]
    assert words[0] == "lmms/bin/lmms-eval"
    words[:1] = [str(lmms_python()), "-m", "lmms_eval"]
    # The cache of datasets is private; a venv's own packages, not ours, are what it runs with.
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": ""}
    done = subprocess.run(
        [*words, "--log_samples"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (results,) = (tmp_path / "scores-colours").rglob("*_results.json")
    found = json.loads(results.read_text())["results"]["colours"]
    assert found["right,none"] == 0.0, "a random model does not know colours"
    (samples,) = (tmp_path / "scores-colours").rglob("*samples_colours.jsonl")
    answers = [json.loads(line)["filtered_resps"] for line in samples.read_text().splitlines()]
    assert len(answers) == 3
    assert all(isinstance(answer, str) and answer for answer in answers)
