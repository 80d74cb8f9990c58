"""`quartet train`: from a recipe and a corpus to a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe file, or the name of a shipped one, such as demo.")],
    corpus: Annotated[
        Path, typer.Option(help="Folder with SOURCE/train.jsonl, as `quartet data build` and `convert` write it.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint, the report, the log and saved steps.")],
    start: Annotated[
        Path | None, typer.Option(help="A checkpoint of the same parts to go on from, instead of the recipe's start.")
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Only these of the recipe's stages, separated by commas.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last saved step, to the same result.")
    ] = False,
) -> None:
    """Train what the stages of a recipe name.

    The checkpoint that is written can be served, packed and scored as it is. Ctrl-C and SIGTERM save the current step
    and end with status 130 and 143; --resume goes on from there.
    """
    from training.recipe import only_stages, read_recipe
    from training.run import run
    from training.signals import Interrupted

    # Names only: where they lay on this machine means nothing to who reads the checkpoint.
    command = f"quartet train {recipe.name} --corpus {corpus.name}"
    trained = read_recipe(recipe)
    if start is not None:
        trained = replace(trained, start=str(start.resolve()))
        command += f" --start {start.name}"
    if stages is not None:
        trained = only_stages(trained, [name.strip() for name in stages.split(",")])
        command += f" --stages {stages}"
    command += f" --output {output.name}"
    try:
        checkpoint = run(trained, corpus, output, resume=resume, command=command)
    except Interrupted as interrupted:
        saved = "the step is saved" if interrupted.saved else "stopped between two saved steps"
        typer.echo(f"{interrupted}: {saved}; continue with --resume", err=True)
        raise typer.Exit(interrupted.status) from None
    typer.echo(f"checkpoint written to {checkpoint.directory}")
