"""`quartet eval`: the scores of a checkpoint or of what a server answers. `quartet compare`: two of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ADDRESSES = ("http://", "https://")


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A checkpoint directory, or a server's URL such as http://host:8000/v1.")
    ],
    corpus: Annotated[Path, typer.Option(help="Folder with SOURCE/test.jsonl, as `quartet data build` writes it.")],
    output: Annotated[Path, typer.Option(help="Folder for scores.md, scores.json and metrics.json.")],
    probes: Annotated[Path | None, typer.Option(help="Corpus to fit the ceilings on, by default CORPUS.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many samples per task.", min=1)] = None,
    controls: Annotated[
        int | None,
        typer.Option(help="Ask at most this many samples per task again without and with other media.", min=1),
    ] = None,
    records: Annotated[Path | None, typer.Option(help="File for one JSON line per sample and control.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, tokens.", min=1)] = 32,
    fast: Annotated[
        bool, typer.Option("--fast", help="Checkpoint: exact accuracy and perplexity only; generate no answers.")
    ] = False,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float32"],
        typer.Option(
            help="Checkpoint: precision of the language model; auto: bfloat16 where the machine is fast in it."
        ),
    ] = "auto",
    name: Annotated[str | None, typer.Option(help="Server: the model's id, by default the first it lists.")] = None,
    key: Annotated[str, typer.Option(help="Server: API key.", envvar="OPENAI_API_KEY", show_default=False)] = "none",
    concurrency: Annotated[int, typer.Option(help="Server: requests at a time.", min=1, max=1024)] = 8,
    encoders: Annotated[
        Path | None, typer.Option(help="Server: checkpoint whose frozen encoders give the ceilings.")
    ] = None,
) -> None:
    """Score a checkpoint or a running server on held-out samples.

    Each question is asked with its medium, with none and with another sample's; a linear probe on the same frozen
    features is the ceiling.
    """
    import torch

    from model.errors import ConfigurationError
    from training.evaluation import Evaluation, evaluate_checkpoint, evaluate_server
    from training.precision import resolve

    evaluation = Evaluation(
        corpus=corpus,
        output=output,
        probes=probes,
        limit=limit,
        controls=controls,
        max_tokens=max_tokens,
        records=records,
    )
    if not model.startswith(ADDRESSES):
        wrong = [flag for flag, given in (("--name", name), ("--encoders", encoders)) if given is not None]
        if wrong:
            raise ConfigurationError(f"{wrong[0]} is for servers; {model} is no URL")
        typer.echo(
            evaluate_checkpoint(Path(model), evaluation, generate=not fast, dtype=getattr(torch, resolve(dtype)))
        )
        return
    if fast:
        raise ConfigurationError("--fast needs a checkpoint directory: a server has to generate its answers")
    typer.echo(evaluate_server(model, evaluation, model=name, key=key, concurrency=concurrency, encoders=encoders))


def compare(
    first: Annotated[Path, typer.Argument(help="Records of one evaluation, written with `quartet eval --records`.")],
    second: Annotated[Path, typer.Argument(help="Records of another one, over the same samples.")],
    variant: Annotated[
        Literal["right", "none", "shuffled"], typer.Option(help="The control that is compared.")
    ] = "right",
) -> None:
    """Compare two evaluations sample by sample.

    The differences have intervals from a paired bootstrap; one that leaves out zero is unlikely to be chance.
    """
    from training.evaluation.compare import compare as run

    typer.echo(run(first, second, variant))
