"""What a person sees of a stage while it trains: one live line, and TensorBoard's files.

align: 412/1203 steps, loss 1.234, lr 1.87e-03, 61.2 samples/s, 5.1k tokens/s, 12:34 left
"""

import sys
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.batches import Batch

# Seconds between two lines where the output is no terminal.
PATIENCE = 30.0


class Meter:
    """Speed of a run; totals come from the plan of its batches, so nothing needs to be counted.

    Args:
        plan: every batch of the run.
        per_step: batches per optimizer step, over all devices.
    """

    def __init__(self, plan: Sequence[Batch], per_step: int) -> None:
        self.per_step = per_step
        self.samples = [0, *accumulate(batch.samples for batch in plan)]
        self.tokens = [0, *accumulate(batch.tokens for batch in plan)]
        self.steps = -(-len(plan) // per_step)
        self.start(0)

    def start(self, step: int, seconds: float = 0.0) -> None:
        """Begin, or go on, after `step` steps that took `seconds`."""
        self._begun, self._before, self._first = time.perf_counter(), seconds, step

    @property
    def seconds(self) -> float:
        """Time that was trained, before earlier stops too."""
        return self._before + time.perf_counter() - self._begun

    def at(self, step: int) -> dict[str, float]:
        """Seconds, totals until `step`, and the speed since the last start."""
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        samples, tokens = self._total(self.samples, step), self._total(self.tokens, step)
        return {
            "seconds": round(self._before + elapsed, 3),
            "samples": samples,
            "tokens": tokens,
            "samples_per_second": round((samples - self._total(self.samples, self._first)) / elapsed, 2),
            "tokens_per_second": round((tokens - self._total(self.tokens, self._first)) / elapsed, 2),
        }

    def left(self, step: int) -> float:
        """Seconds until the end, at the pace since the last start; what is left is measured in tokens."""
        done = self._total(self.tokens, step) - self._total(self.tokens, self._first)
        return (time.perf_counter() - self._begun) * (self.tokens[-1] - self._total(self.tokens, step)) / max(done, 1)

    def _total(self, totals: Sequence[int], step: int) -> int:
        return totals[min(step * self.per_step, len(totals) - 1)]


def line(stage: str, step: int, meter: Meter, entry: Mapping[str, float]) -> str:
    """The live line of a stage."""
    speed = meter.at(step)
    parts = [f"{step}/{meter.steps} steps"]
    parts += [f"loss {entry['loss']:.3f}"] if "loss" in entry else []
    parts += [f"lr {entry['learning_rate']:.2e}"] if "learning_rate" in entry else []
    parts += [f"{short(speed['samples_per_second'])} samples/s", f"{short(speed['tokens_per_second'])} tokens/s"]
    return f"{stage}: {', '.join(parts)}, {clock(meter.left(step))} left"


def short(number: float) -> str:
    """`61.2`, `5.1k`."""
    return f"{number / 1000:.1f}k" if number >= 1000 else f"{number:.1f}"


def clock(seconds: float) -> str:
    """`12:34`, `1:02:03`."""
    return str(tqdm.format_interval(seconds))


class Progress(TrainerCallback):
    """Keeps the line alive on a terminal; elsewhere writes one now and then.

    Args:
        stage: its name.
        meter: of the run.
        stream: by default standard error.
    """

    def __init__(self, stage: str, meter: Meter, stream: TextIO | None = None) -> None:
        self.stage, self.meter, self.stream = stage, meter, stream or sys.stderr
        self._entry: dict[str, float] = {}
        self._written = 0.0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Renew the line, or write another."""
        if not state.is_world_process_zero:
            return
        if self.stream.isatty():
            self._show(state, "\r", "\x1b[K")
        elif time.monotonic() - self._written > PATIENCE:
            self._show(state, "", "\n")
            self._written = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the newest loss and learning rate, and show the results of a validation."""
        if not state.is_world_process_zero or logs is None:
            return
        self._entry |= {name: float(logs[name]) for name in ("loss", "learning_rate") if name in logs}
        scores = {name.removeprefix("eval_"): value for name, value in logs.items() if name.startswith("eval_")}
        if scores:
            self._clear()
            shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
            print(f"{self.stage}: step {state.global_step}, validation {shown}", file=self.stream, flush=True)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave the last line standing."""
        if state.is_world_process_zero:
            self._clear()
            self._show(state, "", "\n")

    def _show(self, state: TrainerState, before: str, after: str) -> None:
        text = line(self.stage, state.global_step, self.meter, self._entry)
        self.stream.write(f"{before}{text}{after}")
        self.stream.flush()

    def _clear(self) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")


class Board(TrainerCallback):
    """Writes every logged number for TensorBoard.

    Args:
        folder: of this stage; `tensorboard --logdir` shows it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the files; what an interrupted run wrote after the step it goes on from is hidden."""
        if state.is_world_process_zero:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=state.global_step + 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write what is logged, what belongs to the validation under that name."""
        for name, value in (logs or {}).items() if self._writer is not None else ():
            place = f"validation/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
            self._writer.add_scalar(place, value, state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
