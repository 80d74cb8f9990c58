"""`quartet data convert`: from a public format to Quartet's own."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def convert(
    format: Annotated[Literal["llava", "s3", "hf", "folder", "csv"], typer.Argument(help="What INPUT is.")],
    input: Annotated[str, typer.Argument(help="File or folder; hf also takes hub:org/name@revision.")],
    output: Annotated[Path, typer.Argument(help="File to write, such as data/corpus/mine/train.jsonl.")],
    media: Annotated[
        Path | None,
        typer.Option(help="Folder that media must lie in and relative names start at. [default: that of INPUT]"),
    ] = None,
    files: Annotated[
        Literal["refer", "link", "copy"],
        typer.Option(help="Leave media files where they are, hard-link them beside OUTPUT, or copy them there."),
    ] = "refer",
    on_problem: Annotated[
        Literal["error", "skip"], typer.Option(help="Stop at an unusable record, or leave it out, list and count it.")
    ] = "error",
    question: Annotated[
        list[str] | None, typer.Option(help="Asked where INPUT has only captions; several are taken in turn.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=COLUMN for tables: id, file, image, audio, question, answer, ...")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of a Hugging Face dataset. [default: train]")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="KEY=TEXT set on every sample, such as language=ms.")] = None,
    test_share: Annotated[
        float, typer.Option(help="Hold out the samples of this share of the media, in test.jsonl.", min=0, max=0.9)
    ] = 0.0,
    limit: Annotated[int | None, typer.Option(help="At most this many samples.", min=1)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
    shown: Annotated[int, typer.Option(help="Problems to print.", min=0)] = 20,
) -> None:
    """Convert LLaVA or S3 JSON, a Hugging Face dataset, a folder with captions, or CSV."""
    from model.errors import DataError
    from training.problems import ProblemLog
    from training.readers import READERS, Options
    from training.readers.convert import TEST, skipped_file
    from training.readers.convert import convert as run

    if output.suffix != ".jsonl":
        raise DataError(f"{output}: give the name of a .jsonl file, such as {output / 'train.jsonl'}")
    for path in [output, output.with_name(TEST)] if test_share else [output]:
        if path.exists() and not overwrite:
            raise DataError(f"{path} exists; replace it with --overwrite, or give another name")
    place = Path(input)
    root = media or (place if place.is_dir() else place.parent)
    if media is not None and not media.is_dir():
        raise DataError(f"{media}: is no folder")
    options = Options(root=root, questions=question or (), columns=_pairs(column, "--column"), split=split)
    skipped_file(output).unlink(missing_ok=True)
    with ProblemLog(shown, skipped_file(output)) as problems:
        done = run(
            READERS[format](input, options),
            output,
            files=files,
            test_share=test_share,
            on_problem=on_problem,
            problems=problems,
            meta=_pairs(meta, "--meta"),
            limit=limit,
        )
    for line in problems.lines():
        typer.echo(line, err=True)
    for line in done.lines():
        typer.echo(line)
    if problems.total:
        typer.echo(f"{problems.total} left out, listed in {problems.file}")


def _pairs(values: list[str] | None, option: str) -> dict[str, Any]:
    """`KEY=TEXT` arguments as a mapping."""
    from model.errors import DataError

    pairs = {}
    for value in values or []:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise DataError(f"{option} {value}: write it as KEY=TEXT")
        pairs[key] = text
    return pairs
