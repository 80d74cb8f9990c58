"""Where the processes of one server leave their numbers: a directory of its own, gone when the server ends.

prometheus_client looks at the environment when it is first imported, so the directory must be there before the server's
process starts.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "quartet-metrics-"


def new_store(environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that names a new, empty directory; inside the one that the operator named, if there is one.

    Numbers of an earlier run would be added to those of this one.
    """
    parent = environment.get(VARIABLE)
    if parent:
        os.makedirs(parent, exist_ok=True)
    return {VARIABLE: tempfile.mkdtemp(prefix=_PREFIX, dir=parent or None)}


def remove_store() -> None:
    """Remove the directory of this server, if `new_store` made it."""
    path = os.environ.get(VARIABLE, "")
    if os.path.basename(path).startswith(_PREFIX):
        shutil.rmtree(path, ignore_errors=True)
