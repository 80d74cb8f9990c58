"""The rules, the runbook and the dashboard fit each other and the metrics; promtool accepts them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.metrics.definitions import DEFINED
from tests.docs.markdown import anchors, prose
from tests.support.monitoring import DASHBOARD, FOLDER, RULES, alerts, metric_names, panels, queries

CASES = Path(__file__).with_name("rules_test.yaml")
RUNBOOK = "docs/runbook.md"
WANTED = {
    "QuartetOverload",
    "QuartetErrorRatio",
    "QuartetSlowFirstToken",
    "QuartetCacheFull",
    "QuartetEncoderBacklog",
    "QuartetMediaRejections",
    "QuartetEngineDead",
    "QuartetRestarts",
}
# What Prometheus makes of a metric.
SERIES = {
    name + suffix
    for name, metric in DEFINED.items()
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_and_configuration_are_accepted() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(FOLDER / "prometheus.yaml"))


@needs_promtool
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path / "rules.yaml")
    shutil.copy(CASES, tmp_path / CASES.name)
    promtool("test", "rules", str(tmp_path / CASES.name))


def test_every_alert_has_a_case_for_both() -> None:
    fires, silent = set(), set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for check in case["alert_rule_test"]:
            (fires if check.get("exp_alerts") else silent).add(check["alertname"])
    assert fires == silent == {alert["alert"] for alert in alerts()}
    assert fires >= WANTED


def test_every_alert_says_what_it_means_and_where_to_read_on() -> None:
    for alert in alerts():
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["runbook_url"] == f"{RUNBOOK}#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert "{{ $labels.instance }}" in alert["annotations"]["description"]
    assert anchors(RUNBOOK) - {"runbook"} == {alert["alert"].lower() for alert in alerts()}


def test_every_metric_that_is_asked_for_exists() -> None:
    assert metric_names(RULES.read_text()) <= SERIES
    assert metric_names(DASHBOARD.read_text()) <= SERIES
    # In prose a histogram goes by its own name.
    assert metric_names(prose(RUNBOOK)) <= set(DEFINED)


def test_recorded_names_are_those_that_are_used() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = set(re.findall(r"quartet:[\w:]+", " ".join([*(rule["expr"] for rule in rules), DASHBOARD.read_text()])))
    assert used == recorded


def test_the_dashboard_is_whole() -> None:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "instance"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]
            assert target["legendFormat"]


@needs_promtool
def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries().values())]
    assert len(rules) > 30
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "queries.yaml"))


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    assert provider["type"] == "file"
