"""`quartet data check`: everything that is wrong with samples and their media, before training finds out."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    paths: Annotated[list[Path], typer.Argument(help="Files of samples, folders of them, or a whole corpus.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Count tokens and check lengths as this recipe would; its LLM is fetched.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Media outside this folder are problems.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Kind of problem that is no failure, such as 'duplicate sample'.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that decode media.", min=1, max=256)] = 2,
    shown: Annotated[int, typer.Option(help="Problems to list.", min=0)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Report samples, media, tokens, lengths and problems; exit status 1 if there are any."""
    import json

    from model.errors import DataError
    from training.check import check as run
    from training.check import sample_files
    from training.check.tokens import Measure
    from training.problems import Kind
    from training.recipe import read_recipe

    kinds = {str(kind): kind for kind in Kind}
    if unknown := [name for name in allow or () if name not in kinds]:
        raise DataError(f"--allow {unknown[0]!r}: is not one of {', '.join(kinds)}")
    measure = Measure.of(read_recipe(recipe)) if recipe is not None else None
    report = run(
        sample_files(paths),
        measure=measure,
        root=root,
        workers=workers,
        shown=shown,
        allowed=[kinds[name] for name in allow or ()],
    )
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        for line in report.lines():
            typer.echo(line)
    if report.failed:
        raise typer.Exit(1)
