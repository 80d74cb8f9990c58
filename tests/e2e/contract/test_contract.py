"""The server does what its OpenAPI document says, and nothing beside it; schemathesis makes the requests.

By hand, against a server of one's own, with every field of every route and many more mixed requests, minutes long:

    SCHEMATHESIS_HOOKS=tests.e2e.contract.hooks python -m schemathesis.cli run URL/openapi.json \\
        --seed 1 --phases coverage,fuzzing,stateful --max-examples 60 --continue-on-failure --checks ...
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from server.middleware.routes import ADAPTER_ROUTES, ROUTES
from tests.docs.markdown import ROOT
from tests.support.metrics import Scrape
from tests.support.serving import ServerProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# Nothing is kept there unless vLLM is told to.
NEVER_FOUND = {"/v1/responses/{id}", "/v1/responses/{id}/cancel"}
# No line of these in the counters, or not of this run alone.
UNCOUNTED = {"/health", "/ready", "/metrics"}


def run(server: ServerProcess, folder: Path, *flags: str) -> int:
    """Let schemathesis loose on the server; how many requests it made, all of them answered as documented.

    It keeps what failed in the folder where it runs and begins with that the next time.
    """
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.e2e.contract.hooks", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--seed", "1"]
    options = ["--checks", ",".join(CHECKS), "--continue-on-failure", "--no-shrink", "--no-color"]
    done = subprocess.run(
        [*command, *options, *flags], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert found, done.stdout
    return int(found[1])


def test_generated_requests(server: ServerProcess, tmp_path: Path) -> None:
    before = Scrape.of_server(server.url)
    made = run(server, tmp_path, "--phases", "fuzzing", "--max-examples", "10")
    assert made > 100
    counted = (Scrape.of_server(server.url) - before).by("quartet_requests_total", "route", "status")
    answered = {route for route, status in counted if status == "200"}
    # A test whose requests are all refused would show nothing.
    assert answered >= set(ROUTES) - ADAPTER_ROUTES - NEVER_FOUND - UNCOUNTED


def test_every_value_of_every_field_of_small_routes(server: ServerProcess, tmp_path: Path) -> None:
    made = run(server, tmp_path, "--phases", "coverage", "--exclude-tag", "Generation")
    assert made > 150


@pytest.mark.parametrize("path", ROUTES)
def test_what_is_not_documented_is_not_there(client: httpx.Client, path: str) -> None:
    documented = client.get("/openapi.json").json()["paths"]
    described = {method.upper() for method in documented.get(path, {})}
    answers = {method: client.request(method, re.sub(r"\{\w+\}", "x", path)).status_code for method in METHODS}
    if path in ADAPTER_ROUTES:
        assert (described, set(answers.values())) == (set(), {404})
    else:
        assert described == {method for method, status in answers.items() if status != 405}
