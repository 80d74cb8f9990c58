"""`quartet average`: one model of several runs."""

from pathlib import Path
from typing import Annotated

import typer


def average(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoint directories of runs on the same frozen parts.")],
    output: Annotated[Path, typer.Option(help="Directory for the new checkpoint.")],
) -> None:
    """Write the mean of what several runs trained.

    Runs of one recipe with other seeds or settings, averaged, are often better than each of them, and served like one.
    """
    from model.checkpoint import Checkpoint
    from training.average import average as run

    command = f"quartet average {' '.join(path.name for path in checkpoints)} --output {output.name}"
    made = run([Checkpoint.open(path) for path in checkpoints], output, command=command)
    typer.echo(f"checkpoint written to {made.directory}")
