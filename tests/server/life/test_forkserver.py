"""The engine's process is a copy of what was imported, has today's environment, and does not outlive the server."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = """
import json, os, sys, time, types
from pathlib import Path
from server.life.forkserver import EngineContext, fork_here

def report(path):
    parent = os.getppid()
    found = {"imported": "imported" in sys.modules, "later": "later" in sys.modules, "pid": os.getpid()}
    found |= {"variable": os.environ.get("VARIABLE"), "gone": os.environ.get("GONE"), "parent": parent}
    Path(path + ".partial").write_text(json.dumps(found))
    os.rename(path + ".partial", path)
    time.sleep(float(os.environ["SECONDS"]))
    sys.exit(5)

if __name__ == "__main__":
    sys.modules["imported"] = types.ModuleType("imported")
    fork_here(lambda: None)
    sys.modules["later"] = types.ModuleType("later")
    os.environ["VARIABLE"] = "new"
    del os.environ["GONE"]
    process = EngineContext().Process(target=report, args=(sys.argv[1],))
    process.start()
    process.join()
    print(process.exitcode)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def started(script: Path, report: Path, seconds: float) -> subprocess.Popen[str]:
    repository = Path(__file__).resolve().parents[3]
    environment = os.environ | {"VARIABLE": "old", "GONE": "here", "PYTHONPATH": str(repository)}
    environment["SECONDS"] = str(seconds)
    command = [sys.executable, str(script), str(report)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_process_is_a_copy_with_the_environment_of_the_one_that_started_it(script: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    process = started(script, report, 0)
    assert process.communicate(timeout=60)[0] == "5\n", "the exit status comes back"
    found = json.loads(report.read_text())
    assert (found["imported"], found["later"]) == (True, False)
    assert (found["variable"], found["gone"]) == ("new", None)
    assert found["parent"] != process.pid
    assert process.returncode == 0
    assert ended(found["parent"]), "the fork server ends with the last process that may ask it"


def test_nothing_outlives_a_server_that_is_killed(script: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    process = started(script, report, 600)
    while not report.exists():
        assert process.poll() is None
        time.sleep(0.05)
    found = json.loads(report.read_text())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ended(found["pid"])
    assert ended(found["parent"])


def ended(pid: int) -> bool:
    """Whether a process ends within a minute."""
    try:
        psutil.Process(pid).wait(60)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True
