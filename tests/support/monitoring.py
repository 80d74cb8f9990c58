"""The shipped rules and dashboard, and a real Prometheus on loopback."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.serving import free_port

FOLDER = Path(__file__).resolve().parents[2] / "docker" / "monitoring"
RULES = FOLDER / "rules.yaml"
DASHBOARD = FOLDER / "dashboard.json"
# What Grafana puts in their place.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    """Every panel that is no heading."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Every query of the dashboard, ready to be asked, by panel and letter."""
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            found[f"{panel['title']} {target['refId']}"] = query
    return found


def metric_names(text: str) -> set[str]:
    """Names of our metrics in a query or a text; those of vLLM and of recording rules have a colon."""
    return set(re.findall(r"(?<![\w:])quartet_\w+", text))


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30, verify=False).json()
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def until(self, expression: str, seconds: float = 60) -> list[dict[str, Any]]:
        """What a query gives as soon as it gives something."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} gives nothing"
            time.sleep(0.5)
        return found


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str | None], rules: str) -> Iterator[Prometheus]:
    """Scrapes every second.

    Args:
        folder: for its data.
        targets: `host:port` of servers, with the key that their metrics need.
        rules: text of a file of rules.
    """
    (folder / "rules.yaml").write_text(rules)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": f"quartet-{number}", "static_configs": [{"targets": [target]}]}
            | ({"authorization": {"credentials": key}} if key else {})
            for number, (target, key) in enumerate(targets.items())
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    program = shutil.which("prometheus")
    assert program is not None
    port = free_port()
    options = {"config.file": "prometheus.yaml", "storage.tsdb.path": "data", "web.listen-address": f"127.0.0.1:{port}"}
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in options.items())], cwd=folder, stdout=log, stderr=log
        )
    try:
        running = Prometheus(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 60
        while not _ready(running.url):
            assert process.poll() is None, (folder / "prometheus.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=5, verify=False).status_code == 200
    except httpx.HTTPError:
        return False
