"""`quartet refit`: better scores for the concepts of a checkpoint that is already trained."""

from pathlib import Path
from typing import Annotated

import typer


def refit(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint directory.")],
    recipe: Annotated[
        Path, typer.Argument(help="A recipe with concepts that say `refit`, or the name of a shipped one.")
    ],
    corpus: Annotated[Path, typer.Option(help="Folder with SOURCE/train.jsonl that it was trained on.")],
    output: Annotated[Path, typer.Option(help="Directory for the new checkpoint.")],
) -> None:
    """Fit the scores of a checkpoint's concepts again.

    What the concepts mean to the language model and the adapter stay as they are; nothing else is trained, so it takes
    seconds once the features are cached.
    """
    from model.checkpoint import Checkpoint
    from training.recipe import read_recipe
    from training.refit import refit as run

    command = f"quartet refit {checkpoint.name} {recipe.name} --corpus {corpus.name} --output {output.name}"
    made = run(Checkpoint.open(checkpoint), read_recipe(recipe), corpus, output, command=command)
    typer.echo(f"checkpoint written to {made.directory}")
