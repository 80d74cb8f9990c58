"""From the settings to a library, and what must be done for it while the server runs."""

import asyncio
import logging
from typing import Any

from model.errors import ConfigurationError
from server.errors import RefusedError
from server.files.disk import STAGING, DiskObjects, make_folder
from server.files.library import Library, Quota
from server.files.objects import Objects
from server.files.resolver import Files
from server.files.staged import remove_abandoned
from server.keys.key import Key
from server.resolvers import FILE_SCHEME, register_resolver
from server.settings import ServerSettings, current

logger = logging.getLogger("server.files")
# Tasks that nobody holds are collected.
_tasks: set[asyncio.Task[None]] = set()


def open_library(settings: ServerSettings) -> Library:
    """The library that the settings describe; asks no service yet.

    Raises:
        ConfigurationError: the folder or the bucket cannot be used.
    """
    root = settings.files_path
    try:
        if settings.files_dir is not None:
            # One that was asked for must be there; the default one may never be needed.
            make_folder(root / STAGING)
        # What a server that was killed was in the middle of.
        remove_abandoned(root / STAGING)
    except OSError as error:
        raise ConfigurationError(f"files_dir: {root}: {error.strerror}") from None
    if settings.files_url is None:
        objects: Objects = DiskObjects(root)
    else:
        from server.files.s3 import S3Objects

        objects = S3Objects(
            settings.files_url, settings.files_endpoint, settings.files_region, settings.files_credentials
        )
    return Library(objects, root / STAGING)


def start_files(state: Any) -> None:
    """Let routes and chats find files, and sweep from time to time; in the server's event loop."""
    settings = current()
    state.quartet_files = None
    if settings.files:
        state.quartet_files = library = open_library(settings)
        register_resolver(FILE_SCHEME, Files(library))
        task = asyncio.get_running_loop().create_task(_sweep(library, settings.files_sweep_seconds))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


def quota_of(key: Key | None) -> Quota:
    """What a key may keep; the server's own limits where it has none."""
    settings = current()
    files, size = (key.max_files, key.max_files_bytes) if key else (None, None)
    return Quota(settings.max_files if files is None else files, settings.max_files_bytes if size is None else size)


async def _sweep(library: Library, seconds: float) -> None:
    # At once, so that what there is from the run before is counted.
    pause = 0.0
    while True:
        await asyncio.sleep(pause)
        pause = seconds
        try:
            count = await library.sweep()
        except RefusedError:
            continue  # the log has the reason
        except Exception:
            logger.exception("files could not be swept")
            continue
        if count:
            logger.info("removed %d files that had expired or were never finished", count)
