"""The command `quartet keys`: make, list and revoke the API keys of a file; a running server follows at once."""

from pathlib import Path
from typing import Annotated

import typer

KEYS = typer.Option("--file", envvar="QUARTET_KEYS_FILE", help="File of keys, the server's setting keys_file.")
DEFAULT = Path("keys.yaml")

keys = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True)
Rate = Annotated[int | None, typer.Option(min=1, show_default=False)]


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is; stands in logs and metrics.")],
    file: Annotated[Path, KEYS] = DEFAULT,
    admin: Annotated[bool, typer.Option("--admin", help="May also see what concerns all users.")] = False,
    model: Annotated[list[str] | None, typer.Option(help="Model id it may use; several times for several.")] = None,
    requests_per_minute: Rate = None,
    tokens_per_minute: Rate = None,
    concurrent_requests: Rate = None,
    image_pixels_per_minute: Rate = None,
    audio_seconds_per_minute: Rate = None,
    max_files: Rate = None,
    max_files_bytes: Rate = None,
) -> None:
    """Make a key and print it, this once: the file keeps its hash only."""
    from model.errors import ConfigurationError
    from server.keys.file import add
    from server.keys.key import ADMIN, NAME, USER, Key, hashed, is_name, new_secret

    if not is_name(name):
        raise ConfigurationError(f"{name[:80]!r} is no name for a key; it must match {NAME}")
    secret = new_secret()
    key = Key(
        name=name,
        hash=hashed(secret),
        role=ADMIN if admin else USER,
        models=tuple(model or ()),
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_requests=concurrent_requests,
        image_pixels_per_minute=image_pixels_per_minute,
        audio_seconds_per_minute=audio_seconds_per_minute,
        max_files=max_files,
        max_files_bytes=max_files_bytes,
    )
    add(file, key)
    print(secret)


@keys.command(name="list")
def list_keys(file: Annotated[Path, KEYS] = DEFAULT) -> None:
    """Names, roles and limits; the file has no secrets to show."""
    from server.keys.file import read

    for key in read(file):
        limits = key.model_dump(exclude_defaults=True, exclude={"name", "hash", "role"}, mode="json")
        rest = " ".join(f"{field}={','.join(v) if isinstance(v, list) else v}" for field, v in limits.items())
        print(f"{key.name}  {key.role}  {rest}".rstrip())


@keys.command()
def revoke(
    name: Annotated[str, typer.Argument(help="As in `quartet keys list`.")], file: Annotated[Path, KEYS] = DEFAULT
) -> None:
    """Take a key out of the file; a running server refuses it within a second."""
    from server.keys.file import revoke as take_out

    take_out(file, name)
    print(f"revoked {name}")
