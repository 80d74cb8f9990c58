"""What docs/ablations says: its command does that, and its numbers are those that were measured."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import yaml

from model.cli import main
from tests.docs.markdown import ROOT, blocks, inline_code, links
from tests.training.parts import recipe_values, write_corpus, write_parts
from training.ablation import read_sweep
from training.ablation.report import RESULTS
from training.ablation.runner import Worker
from training.ablation.sweep import SWEEPS
from training.ablation.trial import Trial

DOCUMENT = "docs/ablations/README.md"
MEASURED = json.loads((ROOT / "docs" / "ablations" / RESULTS).read_text(encoding="utf-8"))


class Here(Worker):
    """Carries out trials in this process, which has loaded the libraries already."""

    turn = threading.Lock()

    def __init__(self, options: object) -> None:
        pass

    def carry_out(self, trial: Trial) -> bool:
        # Models are loaded with settings that all threads of a process share.
        with self.turn:
            trial.carry_out(keep=False)
        return True

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("own_cache")
def test_the_command_does_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = (words for block in blocks(DOCUMENT) if block.language == "sh" for words in block.commands)
    (sweep,) = (block.text for block in blocks(DOCUMENT) if block.language == "yaml")
    values = recipe_values(write_parts(tmp_path))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "mine.yaml").write_text(sweep)
    for path in write_corpus(tmp_path / "corpus", each=4).glob("*/train.jsonl"):
        shutil.copy(path, path.with_name("test.jsonl"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("training.ablation.runner.Worker", Here)
    with pytest.raises(SystemExit) as end:
        main(command[1:])
    assert end.value.code in (0, None), capsys.readouterr()
    report = (tmp_path / "runs" / "ablation" / "report.md").read_text()
    assert "## Do more tokens help?" in report
    assert "failed" not in report
    assert [point["tokens_per_medium"] for point in _points(tmp_path / "runs" / "ablation")] == [2, 4]


def test_the_page_names_every_shipped_sweep() -> None:
    assert {path.stem for path in SWEEPS.glob("*.yaml")} <= set(inline_code(DOCUMENT))
    assert "scores.png" in links(DOCUMENT)


def test_the_tables_are_what_was_measured() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    assert MEASURED["facts"]["command"] in text
    for sweep in MEASURED["sweeps"]:
        shipped = {setting.name: setting for setting in read_sweep(Path(sweep["name"])).settings()}
        for point in sweep["points"]:
            labels = point["labels"]
            assert ", ".join(f"{axis} {label}" for axis, label in labels.items()) in shipped
            error = point["right"]["error"]
            score = f"{100 * point['right']['value']:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")
            assert f"| {' | '.join(labels.values())} | {score} |" in text


def _points(folder: Path) -> list[dict[str, float]]:
    points: list[dict[str, float]] = json.loads((folder / RESULTS).read_text())["sweeps"][0]["points"]
    return points
