"""The commands `quartet pack` and `quartet fetch`: their options, and nothing that is slow to import."""

from pathlib import Path
from typing import Annotated

import typer

DEMO_MODEL = Path(__file__).resolve().parent / "demo"


def pack(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint directory, as training writes it.")],
    output: Annotated[Path, typer.Argument(help="New directory for the self-contained copy.")],
) -> None:
    """Copy a checkpoint with all its frozen parts, LoRA merged, into one directory that needs nothing else."""
    from model.assembly import pack as write

    fetch(checkpoint)
    size = sum(file.stat().st_size for file in write(checkpoint, output).iterdir())
    typer.echo(f"{output}: {size / 2**20:.0f} MiB; serve it with: quartet serve --model {output}")


def fetch(
    model: Annotated[Path, typer.Argument(help="Checkpoint directory.", show_default="the demo model")] = DEMO_MODEL,
) -> None:
    """Download the frozen parts of a checkpoint into the cache, check their sha256, and make it ready to serve."""
    from model.assembly import assemble
    from model.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(model)
    provenance = checkpoint.provenance
    typer.echo(f"language model: {provenance.llm.source}")
    typer.echo(f"  {checkpoint.llm}")
    for modality, part in provenance.encoders.items():
        typer.echo(f"{modality} encoder: {part.source}")
        parameters = sum(tensor.numel() for tensor in checkpoint.encoder_state(modality).values())
        typer.echo(f"  {parameters / 1e6:.1f} M parameters, checked")
    typer.echo(f"ready to serve: {assemble(model)}")
