"""The commands of training: their help, and one line for whatever goes wrong."""

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from model.cli import main
from tests.training.parts import recipe_values, write_recipe


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("train",), ("recipe", "--corpus", "--output", "--resume")),
        (("refit",), ("checkpoint", "recipe", "--corpus", "--output")),
        (("average",), ("checkpoints", "--output")),
        (("eval",), ("model", "--corpus", "--output", "--limit")),
        (("data",), ("build",)),
        (("data", "build"), ("output", "--source", "--limit", "--seed")),
    ],
)
def test_help_names_every_option(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    assert all(word in out for word in words)


@pytest.mark.usefixtures("own_cache")
def test_train_writes_a_checkpoint(
    capsys: pytest.CaptureFixture[str], parts: Path, corpus: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(parts / "command.yaml", recipe_values(parts))
    arguments = ("train", str(recipe), "--corpus", str(corpus), "--output", str(tmp_path / "run"))
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    assert f"checkpoint written to {tmp_path / 'run' / 'checkpoint'}" in out
    recorded = Checkpoint.open(tmp_path / "run" / "checkpoint").provenance.training["command"]
    assert recorded == f"quartet train command.yaml --corpus {corpus.name} --output run", "no paths of this machine"
    code, _, err = call(capsys, *arguments)
    assert code == 1
    assert "is of an earlier run: continue it with --resume" in err
    assert call(capsys, *arguments, "--resume")[0] == 0


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "train", "no-such-recipe", "--corpus", str(tmp_path), "--output", str(tmp_path / "o"))
    assert code == 1
    assert err.splitlines()[-1].startswith("quartet: ")
    assert "shipped recipes are" in err
    code, _, err = call(capsys, "train", "demo", "--corpus", str(tmp_path / "none"), "--output", str(tmp_path / "o"))
    assert code == 1
    assert "train.jsonl does not exist; build the corpus with `quartet data build`" in err
    assert not (tmp_path / "o").exists()
