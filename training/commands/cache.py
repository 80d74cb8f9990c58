"""`quartet data cache`: fill the feature cache ahead of training, and look after it."""

from pathlib import Path
from typing import Annotated

import typer


def cache(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files of samples, folders of them, or a whole corpus.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Encode the media of PATHS with this recipe's encoders.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that read and decode media. [default: one per core, at most 8]", min=1)
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="List unusable media instead of failing because of them.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare all features with their checksums.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="As --verify, and remove damaged files: their media are encoded again.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove features that this version of Quartet does not use.")
    ] = False,
) -> None:
    """Encode media ahead of training, and show, check and prune what is cached.

    Several of these commands at once divide the work.
    """
    from model.errors import ConfigurationError, DataError
    from training.cache import inventory
    from training.cache.fill import WORKERS
    from training.check.report import table
    from training.parts import feature_folder, fill_caches
    from training.problems import OnProblem
    from training.recipe import read_recipe

    if bool(paths) != (recipe is not None):
        raise ConfigurationError("give both PATHS and --recipe to encode media, or neither")
    folder = feature_folder()
    if prune:
        for removed, size in inventory.prune(folder):
            typer.echo(f"removed {removed}: {size / 2**20:.1f} MiB")
    if verify or repair:
        problems = [
            problem
            for entry in inventory.entries(folder)
            if entry.config is not None
            for problem in inventory.check(entry, repair=repair)
        ]
        for problem in problems:
            typer.echo(f"removed {problem}" if repair else problem)
        if problems and not repair:
            raise DataError(f"{len(problems)} files of cached features are damaged; run `quartet data cache --repair`")
    if paths and recipe is not None:
        policy: OnProblem = "skip" if skip else "error"
        for done in fill_caches(read_recipe(recipe), paths, workers=workers or WORKERS, on_problem=policy):
            counts = f"{done.media} media, {done.encoded} encoded now, {len(done.unusable)} unusable"
            typer.echo(f"{done.modality}: {counts}")
            for path, reason in done.unusable.items():
                typer.echo(f"  {path}: {reason}")
    header = ("encoder", "modality", "features", "media", "files", "damaged", "MiB", "weights")
    rows = []
    for entry in inventory.entries(folder):
        config = entry.config
        of = ("-", "not used") if config is None else (config.modality, f"{config.length or 'n'} x {config.dim}")
        files = ("-" if config is None else entry.media, len(entry.shards), len(entry.damaged))
        rows.append((entry.folder.name, *of, *files, f"{entry.size / 2**20:.1f}", entry.weights_sha256[:12] or "-"))
    typer.echo("\n".join(table(header, rows)) if rows else f"{folder}: nothing is cached")
