"""`quartet ablate`: what the choices of a recipe are worth."""

from pathlib import Path
from typing import Annotated

import typer


def ablate(
    sweeps: Annotated[list[Path], typer.Argument(help="Sweep files, or names of shipped ones, such as tokens.")],
    corpus: Annotated[Path, typer.Option(help="Folder with SOURCE/train.jsonl and SOURCE/test.jsonl.")],
    output: Annotated[Path, typer.Option(help="Folder for the trials and the report; an earlier one is continued.")],
    jobs: Annotated[int, typer.Option(help="Trials at the same time, a process each.", min=1, max=256)] = 1,
    threads: Annotated[int, typer.Option(help="Threads of each process.", min=1, max=1024)] = 1,
    minutes: Annotated[float | None, typer.Option(help="Begin no trial after so many minutes.", min=0)] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the checkpoint of every trial.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what has failed.")] = False,
) -> None:
    """Train a recipe with changes, and report what each is worth.

    Trials that have ended are never repeated: the same command continues a sweep that was interrupted.
    """
    from training.ablation import ablate as run
    from training.ablation import read_sweep
    from training.ablation.runner import Options

    options = Options(jobs=jobs, threads=threads, keep=keep, retry=retry, minutes=minutes)
    # Names only: where they lay on this machine means nothing to who reads the report.
    names = " ".join(path.name for path in sweeps)
    command = f"quartet ablate {names} --corpus {corpus.name} --output {output.name} --jobs {jobs} --threads {threads}"
    report = run([read_sweep(path) for path in sweeps], corpus, output, options=options, command=command)
    typer.echo(f"report written to {report}")
