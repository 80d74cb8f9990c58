"""Safetensors files that others than their writer may read, as far as the umask lets them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


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
