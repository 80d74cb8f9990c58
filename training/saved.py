"""What a run leaves in its output while it trains: saved steps, and which stages are done.

output/stage-<name>/
  checkpoint-<step>/   a saved step: what is trained, optimizer, schedule, random numbers, the trainer's log
  done.json            the stage has ended, after which step, and whose weights it ended with
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from model.errors import ConfigurationError
from model.tensor_file import write_tensors

TRAINED = "trained.safetensors"
# Written last into the folder of a saved step: without it, the step was interrupted while it was written.
COMPLETE = "trainer_state.json"
DONE = "done.json"


@dataclass(frozen=True)
class Done:
    """How a stage ended."""

    step: int
    """Its last one."""
    best: int
    """The one whose weights it ended with."""


def stage_folder(output: Path, name: str) -> Path:
    """Where a stage saves its steps."""
    return output / f"stage-{name}"


def saved_steps(folder: Path) -> list[Path]:
    """The complete saved steps in a stage's folder, the last one last."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def saved_step(folder: Path, step: int) -> Path:
    """The folder of one saved step."""
    return folder / f"checkpoint-{step}"


def read_done(folder: Path) -> Done | None:
    """How a stage ended, or None while it has not."""
    path = folder / DONE
    return Done(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def write_done(folder: Path, done: Done) -> None:
    """Record that a stage has ended."""
    path = folder / f".{DONE}"
    path.write_text(json.dumps(asdict(done)) + "\n", encoding="utf-8")
    path.replace(folder / DONE)


def read_log(step: Path) -> list[dict[str, float]]:
    """The trainer's log up to a saved step."""
    entries: list[dict[str, float]] = json.loads((step / COMPLETE).read_text(encoding="utf-8"))["log_history"]
    return entries


def save_trained(model: nn.Module, folder: Path, state: dict[str, object] | None = None) -> None:
    """Write only what is trained; the frozen parts are known by their hashes.

    Args:
        model: its parameters that need a gradient are written.
        folder: of the saved step; made if missing.
        state: whole parameters by name, where the model itself holds shards of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    whole = {name: state[name] for name in named} if state is not None else named
    # A tied layer is one parameter under its first name.
    write_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in whole.items()}, folder / TRAINED)  # type: ignore[attr-defined]


def load_trained(model: nn.Module, folder: Path, stage: str) -> None:
    """Read what `save_trained` wrote.

    Raises:
        ConfigurationError: it holds other parameters than the stage trains.
    """
    path = folder / TRAINED
    state = load_file(path)
    trained = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}
    if trained != {name: tensor.shape for name, tensor in state.items()}:
        raise ConfigurationError(
            f"{path}: does not hold what stage {stage} trains; the recipe or the corpus has changed since"
        )
    model.load_state_dict(state, strict=False)
