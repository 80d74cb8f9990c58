"""SIGINT (Ctrl-C) and SIGTERM: save the step that is being computed, then end; a second one ends at once.

Outside of training there is nothing to save, and the first one ends the run.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal has ended the run; like `KeyboardInterrupt` no error that anything should catch and go on.

    Args:
        number: of the signal.
        saved: whether the run can be resumed where it was.
    """

    def __init__(self, number: int, saved: bool) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.saved = number, saved

    @property
    def status(self) -> int:
        """Exit status that shells expect: 130 after SIGINT, 143 after SIGTERM."""
        return 128 + self.number


class Stop:
    """Whether a signal has come, and whether something waits to save before the run ends."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.training = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises:
            Interrupted: nothing needs to be saved, or it is the second signal.
        """
        if self.number is not None or not self.training:
            raise Interrupted(number, saved=False)
        self.number = number

    def check(self) -> None:
        """End the run if a signal came while it trained.

        Raises:
            Interrupted: one came; the step is saved.
        """
        if self.number is not None:
            raise Interrupted(self.number, saved=True)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle both signals while the block runs; only the main thread can, others leave them as they are."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SaveAndStop(TrainerCallback):
    """Saves and ends the training after the step during which a signal came."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """From here on there is something to save."""
        self.stop.training = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask the trainer to save and to stop."""
        if self.stop.number is not None:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Nothing to save any more."""
        self.stop.training = False
