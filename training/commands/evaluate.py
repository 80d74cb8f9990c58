"""`quartet eval`: the scores of a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="A checkpoint directory.")],
    corpus: Annotated[Path, typer.Option(help="Folder written by `quartet data build`.")],
    output: Annotated[Path, typer.Option(help="Folder for scores.json and scores.md.")],
    probes: Annotated[Path | None, typer.Option(help="Corpus to fit the ceilings on, by default CORPUS.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many samples per task.", min=1)] = None,
) -> None:
    """Score a checkpoint on held-out samples.

    Each question is asked with its medium, with none and with another sample's; a linear probe on the same frozen
    features is the ceiling.
    """
    from training.evaluate import evaluate_checkpoint

    typer.echo(evaluate_checkpoint(model, corpus, output, probes=probes, limit=limit))
