"""A process that carries out trials, one after the other, so that libraries are loaded once for many.

It reads folders of trials from standard input, one per line, and answers each with a line when the trial has ended.
What a trial prints goes to its own log. It ends when its input does.
"""

import os
import sys
from pathlib import Path

from filelock import FileLock

from training.ablation.trial import LOG, Trial

LOCK = "lock"


def serve(keep: bool) -> None:
    """Carry out what standard input asks for."""
    # Libraries print what they like, so answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        trial = Trial(Path(line.rstrip("\n")))
        # Two sweeps may share a folder, and a worker may have survived its sweep; the system lets go of the lock.
        with FileLock(trial.folder / LOCK):
            if not trial.done:
                with (trial.folder / LOG).open("ab", buffering=0) as log:
                    os.dup2(log.fileno(), 1)
                    os.dup2(log.fileno(), 2)
                    trial.carry_out(keep=keep)
                    sys.stdout.flush()
                    sys.stderr.flush()
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    serve(keep="--keep" in sys.argv[1:])
