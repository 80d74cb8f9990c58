"""`quartet data show`: samples on an HTML page."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    paths: Annotated[list[Path], typer.Argument(help="Files of samples, folders of them, or a whole corpus.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")],
    number: Annotated[int, typer.Option("--number", "-n", help="How many to show, at random.", min=1, max=500)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Show this sample; may be repeated.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only samples of this task; may be repeated.")] = None,
    root: Annotated[Path | None, typer.Option(help="Leave out samples with media outside this folder.")] = None,
) -> None:
    """Show samples with their pictures and sounds on one HTML page."""
    from model.errors import DataError
    from training.check import sample_files
    from training.show import choose, page

    files = sample_files(paths)
    shown = choose(files, number=number, seed=seed, ids=ids or (), tasks=task or (), root=root)
    title = paths[0].name if len(paths) == 1 else f"{len(files)} files of samples"
    text = page(shown, title)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from None
    for line in shown.problems.lines():
        typer.echo(line, err=True)
    typer.echo(f"{len(shown.samples)} of {shown.total} samples written to {output}")
