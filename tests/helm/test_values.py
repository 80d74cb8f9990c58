"""What may be said to the chart: every value is described, every other name and every impossible pair refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import ServerSettings, load
from server.settings.messages import is_secret
from tests.helm.charts import CHART, CI, one, refusal, render, template
from tests.support.deploy import HELM
from tests.support.scripts import script

TOOL = script("tools/chart.py")
VALUES = TOOL.read_values(CHART / "values.yaml")
WRITE = "run python tools/chart.py"


def test_the_schema_is_that_of_the_values() -> None:
    assert (CHART / "values.schema.json").read_text() == TOOL.schema(VALUES), WRITE


def test_the_readme_lists_the_values() -> None:
    text = (CHART / "README.md").read_text()
    assert text == TOOL.readme(text, VALUES), WRITE


def test_rules_and_dashboard_are_those_of_compose() -> None:
    for copy, content in TOOL.copies().items():
        assert copy.read_bytes() == content, WRITE


def leaves(values: Any) -> Any:
    for value in values:
        yield from leaves(value.members) if value.members else [value]


def test_every_value_is_described_and_used() -> None:
    templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*.*"))
    for value in leaves(VALUES):
        assert len(value.text) > 5, f"{value.path}: no `# --` comment"
        name = value.path.rpartition(".")[2]
        assert re.search(rf"\.{name}\b", templates), f"{value.path} changes nothing"


def test_every_mapping_is_closed_unless_it_says_so() -> None:
    """Typos are refused everywhere but in what Kubernetes itself describes, and in words by name."""
    free = set()

    def walk(schema: dict[str, Any], path: str) -> None:
        if schema.get("type") == "object" and schema.get("additionalProperties", True) is True:
            free.add(path)
        for name, part in schema.get("properties", {}).items():
            walk(part, f"{path}.{name}".lstrip("."))
        if isinstance(schema.get("items"), dict):
            walk(schema["items"], f"{path}[]")

    walk(json.loads((CHART / "values.schema.json").read_text()), "")
    assert free == {
        "affinity.nodeAffinity",
        "affinity.podAffinity",
        "affinity.podAntiAffinity",
        "autoscaling.keda.extraTriggers[]",
        "extraContainers[]",
        "extraEnv[].valueFrom",
        "extraInitContainers[]",
        "extraVolumes[]",
        "global",
        "networkPolicy.egress[].ports[]",
        "networkPolicy.egress[].to[]",
        "networkPolicy.from[].ipBlock",
        "networkPolicy.from[].namespaceSelector",
        "networkPolicy.from[].podSelector",
        "podSecurityContext",
        "resources.claims[]",
        "resources.limits",
        "resources.requests",
        "securityContext",
        "updateStrategy",
    }


TYPOS: list[tuple[dict[str, Any], str]] = [
    ({"image": {"tagg": "1"}}, "tagg"),
    ({"replicaCount": 2}, "replicaCount"),
    ({"replicas": "two"}, "replicas"),
    ({"gpu": {"enable": True}}, "enable"),
    ({"gpu": {"enabled": "yes"}}, "enabled"),
    ({"config": {"prot": 8000}}, "prot"),
    ({"config": {"max_media": -1}}, "max_media"),
    ({"config": {"api_key": "in-a-config-map-by-mistake"}}, "api_key"),
    ({"config": {"device": "cuda"}}, "device"),
    ({"secrets": {"api_kee": {"name": "a", "key": "b"}}}, "api_kee"),
    ({"secrets": {"api_key": "literal"}}, "api_key"),
    ({"secrets": {"api_key": {"name": "a"}}}, "key"),
    ({"cache": {"kind": "pvc"}}, "kind"),
    ({"cache": {"size": "100GB"}}, "size"),
    ({"service": {"type": "Clusterip"}}, "type"),
    ({"service": {"port": 0}}, "port"),
    ({"ingress": {"host": "a.example.org"}}, "host"),
    ({"ingress": {"controller": "nginxx"}}, "controller"),
    ({"autoscaling": {"enabled": True}}, "enabled"),
    ({"autoscaling": {"keda": {"serverAddress": "prometheus:9090"}}}, "serverAddress"),
    ({"tolerations": [{"key": "gpu", "efect": "NoSchedule"}]}, "efect"),
    ({"networkPolicy": {"from": [{"namespaceSelectors": {}}]}}, "namespaceSelectors"),
    ({"topologySpread": [{"maxSkew": 1}]}, "topologyKey"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"engineArgs": ["--max-num-seqs", 64]}, "engineArgs"),
    ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    ({"extraEnv": [{"name": "A", "vaule": "b"}]}, "vaule"),
]


@pytest.mark.parametrize(("values", "named"), TYPOS, ids=lambda item: item if isinstance(item, str) else "")
def test_typos_are_refused(values: dict[str, Any], named: str) -> None:
    assert len(TYPOS) >= 20
    message = refusal(values)
    assert "schema" in message
    assert named in message


def test_the_older_helm_refuses_them_too() -> None:
    for values, named in TYPOS[:3]:
        assert named in refusal(values, HELM[0])


PAIRS: list[tuple[dict[str, Any], str]] = [
    ({"cache": {"kind": "existingClaim"}}, "cache.existingClaim"),
    ({"cache": {"kind": "claim"}, "replicas": 2}, "ReadWriteMany"),
    ({"cache": {"kind": "claim"}, "autoscaling": {"kind": "hpa"}}, "ReadWriteMany"),
    ({"files": {"kind": "existingClaim"}}, "files.existingClaim"),
    ({"replicas": 2}, "config.files_url"),
    ({"replicas": 2, "files": {"kind": "claim", "accessModes": ["ReadWriteOnce"]}}, "ReadWriteMany"),
    ({"autoscaling": {"kind": "keda"}}, "config.files_url"),
    ({"keys": {"existingSecret": "a"}, "config": {"keys_file": "/b"}}, "keys_file"),
    ({"ingress": {"enabled": True}}, "ingress.hosts"),
    ({"gateway": {"enabled": True}}, "gateway.parentRefs"),
    ({"monitoring": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}, "twice"),
    ({"autoscaling": {"kind": "hpa", "minReplicas": 5}}, "maxReplicas 4"),
    ({"autoscaling": {"kind": "hpa", "minReplicas": 0}}, "extraTriggers"),
    ({"autoscaling": {"kind": "keda", "minReplicas": 0}}, "extraTriggers"),
]


@pytest.mark.parametrize(("values", "named"), PAIRS, ids=lambda item: item if isinstance(item, str) else "")
def test_impossible_pairs_are_refused(values: dict[str, Any], named: str) -> None:
    assert named in refusal(values)


@pytest.mark.parametrize("file", [None, *CI], ids=lambda file: file.name if file else "defaults")
def test_the_server_accepts_its_configuration(
    file: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUARTET_CONFIG", "QUARTET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    documents = template("helm-4", "1.37.0", file)
    name = "sight-and-sound" if file and file.name.startswith("everything") else "blue-quartet"
    text = one(documents, "ConfigMap", name)["data"]["quartet.yaml"]
    path = tmp_path / "quartet.yaml"
    path.write_text(text)
    settings = load({}, str(path)).settings
    assert settings.host == "0.0.0.0"
    assert {key for key in yaml.safe_load(text) if is_secret(ServerSettings.model_fields[key])} == set()
    given = yaml.safe_load(file.read_text()).get("config", {}) if file else {}
    assert {key: getattr(settings, key) for key in given} == {
        key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
    }


def test_numbers_reach_the_server_as_they_were() -> None:
    """Helm reads them as floats and would write 2.68435456e+08."""
    text = one(render({"config": {"max_body_bytes": 123456789, "max_wait": 0.5}}), "ConfigMap")["data"]["quartet.yaml"]
    assert "max_body_bytes: 123456789\n" in text
    assert "max_wait: 0.5\n" in text


def test_the_chart_s_defaults_are_those_of_the_server() -> None:
    config = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    defaults = ServerSettings()
    assert config.pop("host") == "0.0.0.0"
    assert config == {name: getattr(defaults, name) for name in config}
