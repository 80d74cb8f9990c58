"""The command-line commands of training: `quartet data`, `quartet train`, `quartet eval`."""

from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Build training data.", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Build training data."""


@data.command("build")
def build_data(
    output: Annotated[Path, typer.Argument(help="Folder to write the corpora to.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only scenes, speech, stamps, sounds, emoji or dialogs; may be repeated. [default: all]"),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many training samples per source.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Build the corpora of the demo from Debian and npm packages."""
    from model.errors import DataError
    from training.corpus import build

    try:
        typer.echo(str(build(output, sources=source, limit=limit, seed=seed)))
    except (RuntimeError, ValueError) as error:
        raise DataError(str(error)) from error


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
