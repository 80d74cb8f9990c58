"""The engine's process begins as a copy of what the server has imported, where vLLM would start another interpreter.

Beside its API server vLLM starts the engine, on a CPU always as a new interpreter, which imports torch, transformers
and vLLM a second time: ten seconds of processor time, and some hundred megabytes that the two could share. So the
server forks once, when it has imported what both need and before it has threads, sockets or an engine. The copy is the
fork server of `multiprocessing`, which makes its processes of itself.

This thread computes nothing before: OpenMP's threads, which do not survive a fork, belong to the one that computes.
"""

import importlib
import multiprocessing.forkserver
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

# What the engine imports first; the rest comes with it.
PRELOADED = ("vllm.v1.engine.core", "vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner")


class EngineProcess(ForkServerProcess):
    """A process with the environment of the one that starts it, whose copy is older; it ends when that one does."""

    def start(self) -> None:
        """Begin, and run `run` there."""
        self._environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        """What was asked for, in that environment."""
        os.environ.clear()
        os.environ.update(self._environment)
        threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
        super().run()


def _end_with_parent() -> None:
    """A server that was killed cannot tell its engine, which would keep its memory for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


class EngineContext(ForkServerContext):
    """What vLLM takes for the module `multiprocessing`."""

    Process = EngineProcess


def start_fork_server() -> None:
    """Import what the engine needs, fork, and let vLLM make its processes there; before anything else is started.

    From Python 3.14 on, whose fork server also wants a key, vLLM starts interpreters as ever.
    """
    if sys.version_info >= (3, 14):
        return
    from vllm.utils import system_utils

    # By this name vLLM's modules import it, from here on.
    system_utils.get_mp_context = EngineContext
    for name in PRELOADED:
        importlib.import_module(name)
    # Also for those it makes: once the environment has changed, the title's place is not found any more.
    fork_here(lambda: system_utils.set_process_title("ForkServer"))


def fork_here(begin: Callable[[], None]) -> None:
    """Make a copy of this process the fork server of `multiprocessing`, which would be a new interpreter.

    Args:
        begin: what the copy does first.
    """
    server: Any = multiprocessing.forkserver._forkserver
    resource_tracker.ensure_running()
    with socket.socket(socket.AF_UNIX) as listener:
        address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
        listener.bind(address)
        os.chmod(address, 0o600)
        listener.listen()
        # Open as long as anyone lives who may ask for a process.
        alive, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Whatever happens, the server's own cleaning up is not for its copy to do.
            try:
                os.close(ours)
                begin()
                multiprocessing.forkserver.main(listener.detach(), alive, [])
            finally:
                os._exit(0)
        os.close(alive)
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, ours, pid
