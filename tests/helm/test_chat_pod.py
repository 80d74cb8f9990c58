"""What `helm test` runs, run against a real server."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helm.charts import Document, of_file, one, template, variables
from tests.support.serving import ServerProcess, free_port


def chat(documents: tuple[Document, ...], **environment: Any) -> subprocess.CompletedProcess[str]:
    """The container's command with its own arguments, in an environment of its own variables and these."""
    (container,) = one(documents, "Pod", "blue-quartet-test")["spec"]["containers"]
    given = {name: value for name, value in variables(container).items() if isinstance(value, str)}
    command = [sys.executable, *container["command"][1:], *container["args"]]
    environment = {"PATH": os.environ["PATH"], **given, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_it_asks_the_service() -> None:
    documents = of_file("cpu-demo")
    (container,) = one(documents, "Pod", "blue-quartet-test")["spec"]["containers"]
    assert variables(container)["BASE_URL"] == "http://blue-quartet.models.svc:80"
    assert variables(container)["MODEL"] == "demo"
    assert one(documents, "Pod")["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert one(documents, "Pod")["metadata"]["labels"]["app.kubernetes.io/component"] == "test"


@pytest.mark.e2e
def test_a_real_request(server: ServerProcess) -> None:
    done = chat(of_file("cpu-demo"), BASE_URL=server.url, MODEL=server.model)
    assert done.returncode == 0, done.stderr
    assert '"image_tokens": 4' in done.stdout
    words = chat(of_file("cpu-demo"), BASE_URL=server.url, MODEL=server.model, PICTURE="")
    assert words.returncode == 0, words.stderr
    assert '"image_tokens": 0' in words.stdout


@pytest.mark.e2e
def test_a_refusal_is_shown(server: ServerProcess) -> None:
    done = chat(of_file("cpu-demo"), BASE_URL=server.url, MODEL="another")
    assert done.returncode == 1
    assert "HTTP 404" in done.stderr
    assert "model_not_found" in done.stderr


def test_nobody_there() -> None:
    done = chat(template("helm-4", "1.37.0", None), BASE_URL=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "refused" in done.stderr
