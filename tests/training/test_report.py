"""What is shown while a run trains, and what remains of it to be read."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.training.parts import recipe_values, write_recipe
from tests.training.test_batches import conversations, stage
from training.batches import LengthBatches
from training.progress import Meter, Progress, clock, line, short
from training.recipe import read_recipe
from training.report import (
    Facts,
    Machine,
    MachineFacts,
    StageFacts,
    draw_curves,
    points,
    resident,
    smoothed,
    write_report,
)

LOG: list[dict[str, Any]] = [
    {"stage": "align", "step": 10, "loss": 3.0, "learning_rate": 1e-3},
    {"stage": "align", "step": 20, "loss": 2.0, "learning_rate": 5e-4},
    {"stage": "align", "step": 25, "eval_loss": 1.5, "eval_accuracy": 0.5},
    {"stage": "tune", "step": 10, "loss": 1.0, "learning_rate": 1e-4},
    {"stage": "tune", "step": 20, "loss": 0.5, "learning_rate": 0.0},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def meter(steps: int = 10) -> Meter:
    data = conversations([8] * steps)
    return Meter(LengthBatches(data, [8], stage(batch_rows=1, batch_tokens=None), 0).plan, 1)


def test_the_steps_of_stages_follow_each_other() -> None:
    assert points(LOG, "loss") == [(10, 3.0), (20, 2.0), (35, 1.0), (45, 0.5)]
    assert points(LOG, "eval_loss") == [(25, 1.5)]
    assert smoothed([1.0, 1.0]) == [1.0, 1.0]
    assert smoothed([3.0, 2.0, 1.0]) == [3.0, 2.0, 1.0], "a short curve is followed"
    assert smoothed([1.0] + [0.0] * 199)[10] == pytest.approx(0.9**10)


def test_curves_are_drawn(tmp_path: Path) -> None:
    draw_curves(LOG, tmp_path / "all.png")
    draw_curves(LOG[:2], tmp_path / "loss.png")
    for name in ("all.png", "loss.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    draw_curves([{"step": 5, "train_loss": 1.0}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_report_says_what_was_done(parts: Path, tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(parts / "reported.yaml", recipe_values(parts)))
    best = {"step": 25.0, "loss": 1.5, "perplexity": 4.48, "accuracy": 0.5}
    done = StageFacts("align", 25, 1800.0, 7200, 90000, 1234567, {"scenes": 96}, 2.0, best)
    machine = MachineFacts("2 cores, such a CPU", 0.6, 3 << 30, 0)
    facts = Facts("quartet train tiny", [done], {"image": 24}, ["scenes:3: too long"], machine)
    write_report(tmp_path, recipe, facts, LOG)
    text = (tmp_path / "report.md").read_text()
    for expected in (
        "    quartet train tiny",
        "![loss and learning rate by step](curves.png)",
        "| align | 1,234,567 | 25 | 7,200 | 90,000 | 0.50 | 4.0 | 2.0000 |",
        "| align | 25 | 1.5000 | 4.480 | 50.0 % |",
        "| align | scenes | 96 |",
        "- scenes:3: too long",
        "| device | 2 cores, such a CPU |",
        "| peak memory | 3.00 GiB |",
        "| torch | ",
        "learning_rates:",
    ):
        assert expected in text, expected


def test_the_memory_of_a_run_is_watched() -> None:
    with Machine() as machine:
        held = b"x" * (200 << 20)
        before = machine.now().peak_memory
        assert before > len(held)
        del held
        assert machine.now().peak_memory >= before, "the most there ever was"
    assert "cores, " in machine.now().device


def process(pid: int, parent: int, rss: int, vms: int) -> Any:
    return SimpleNamespace(pid=pid, ppid=lambda: parent, memory_info=lambda: SimpleNamespace(rss=rss, vms=vms))


def test_a_child_that_has_not_started_its_program_holds_nothing_of_its_own() -> None:
    def ended() -> Any:
        raise psutil.NoSuchProcess(9)

    gone = SimpleNamespace(pid=9, memory_info=ended, ppid=ended)
    run, pool = process(1, 0, 500, 900), process(2, 1, 200, 400)
    assert resident([run, pool, process(3, 2, 150, 300), gone]) == 850
    assert resident([run, pool, process(3, 1, 490, 900)]) == 700, "the run's own memory, seen twice"
    assert resident([run, pool, process(3, 2, 200, 400)]) == 700, "the pool's"
    assert resident([run, process(3, 2, 200, 900)]) == 700, "of the same size, and not its child"


def test_a_meter_goes_on_where_a_run_was_interrupted() -> None:
    watch = meter()
    watch.start(4, 100.0)
    found = watch.at(6)
    assert found["tokens"] == 48
    assert found["seconds"] >= 100
    assert watch.steps == 10
    assert watch.at(99)["tokens"] == 80


def test_the_line_is_one_line() -> None:
    text = line("align", 5, meter(), {"loss": 1.2345, "learning_rate": 1.87e-3})
    assert text.startswith("align: 5/10 steps, loss 1.234, lr 1.87e-03, ")
    assert text.endswith(" left")
    assert " samples/s, " in text
    assert " tokens/s, " in text
    assert "\n" not in text


@pytest.mark.parametrize(("number", "shown"), [(61.23, "61.2"), (5123.0, "5.1k")])
def test_numbers_are_short(number: float, shown: str) -> None:
    assert short(number) == shown
    assert clock(3723) == "1:02:03"


def test_a_terminal_sees_one_live_line_and_a_file_now_and_then_one(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    state, control = TrainerState(), TrainerControl()
    for stream in (Terminal(), io.StringIO()):
        progress = Progress("align", meter(), stream)
        for step in range(1, 6):
            state.global_step = step
            progress.on_step_end(args, state, control)
            progress.on_log(args, state, control, {"loss": 1.0, "learning_rate": 1e-3})
        progress.on_log(args, state, control, {"eval_loss": 0.5, "eval_accuracy": 0.25})
        progress.on_train_end(args, state, control)
        written = stream.getvalue()
        assert "align: step 5, validation loss 0.5, accuracy 0.25\n" in written
        if stream.isatty():
            assert written.count("\r") >= 5
            assert written.count("\n") == 2, "the validation, and the last line"
        else:
            assert "\r" not in written
            assert written.count(" steps, ") == 2, "at the beginning, and at the end"
