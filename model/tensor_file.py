"""Files of tensors: written so that others than their writer may read them, and compared with what they should hold."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError


def write_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write contiguous tensors to `path`, over what may be there.

    safetensors writes a private file and renames it, so nobody else could read a model: neither the user of a container
    whose image was built by root, nor a colleague.

    Raises:
        OSError: it cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode & 0o777
    save_file(dict(state), path, metadata={"format": "pt"})
    path.chmod(mode)


def compare(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that are missing, unknown or of another shape than expected; `what` names the file.

    Raises:
        CheckpointError: naming the first tensor that differs.
    """
    for name, tensor in expected.items():
        if _is_counter(name):
            continue
        if name not in given:
            raise CheckpointError(f"{what}: tensor {name} is missing; it was saved for another configuration")
        if given[name].shape != tensor.shape:
            raise CheckpointError(
                f"{what}: tensor {name} has shape {tuple(given[name].shape)}, the configuration asks for "
                f"{tuple(tensor.shape)}; projector, encoder and language model must be those it was trained with"
            )
    extra = sorted(set(given) - set(expected))
    extra = [name for name in extra if not _is_counter(name)]
    if extra:
        raise CheckpointError(f"{what}: unexpected tensor {extra[0]}; it was saved for another configuration")


def _is_counter(name: str) -> bool:
    """Batch-norm step counters, which inference does not read and some files lack."""
    return name.endswith("num_batches_tracked")
