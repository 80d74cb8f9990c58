"""`quartet data`: build, check and show training data."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands.cache import cache
from training.commands.check import check
from training.commands.convert import convert
from training.commands.show import show
from training.commands.synthesise import synthesise_data

data = typer.Typer(help="Build, convert, check and show training data.", no_args_is_help=True)


@data.callback()
def _data() -> None:
    """Build, convert, check and show training data."""


data.command("convert")(convert)
data.command("check")(check)
data.command("cache")(cache)
data.command("show")(show)
data.command("synthesise")(synthesise_data)


@data.command("build")
def build_data(
    output: Annotated[Path, typer.Argument(help="Folder to write the corpora to.")],
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only scenes, speech, stamps, sounds, emoji, dialogs or pairs; repeatable. [default: all]"),
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
