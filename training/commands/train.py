"""`quartet train`: from a recipe and a corpus to a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, or the name of a shipped one, such as demo.")],
    corpus: Annotated[Path, typer.Option(help="Folder written by `quartet data build`.")],
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint, the log and the loss curve.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last saved step.")] = False,
) -> None:
    """Train the projectors of a recipe.

    The checkpoint that is written can be served, packed and scored as it is.
    """
    from training.recipe import read_recipe
    from training.run import run

    # Names only: where they lay on this machine means nothing to who reads the checkpoint.
    command = f"quartet train {recipe.name} --corpus {corpus.name} --output {output.name}"
    checkpoint = run(read_recipe(recipe), corpus, output, resume=resume, command=command)
    typer.echo(f"checkpoint written to {checkpoint.directory}")
