"""Where the checkpoint lies that someone names: a directory of this machine, or a repository of the hub."""

from pathlib import Path

from model.errors import CheckpointError


def find(model: str) -> Path:
    """The directory `model` names: a local one, or a snapshot of a repository on the hub, downloaded if need be.

    Raises:
        CheckpointError: neither a directory nor a repository that can be downloaded.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise CheckpointError(f"{model} is not a directory; give a checkpoint's directory or org/name on the hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"{model}: neither a local directory nor on the hub ({type(error).__name__})") from None
