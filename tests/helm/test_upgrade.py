"""What a cluster never lets change stays as it is, whatever values change between two versions of a release."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import yaml

from tests.helm.charts import CHART, NAMESPACE, RELEASE, Document, helm, render, workload

# Before and after an upgrade, read backwards: a rollback.
CHANGES: list[tuple[Document, Document]] = [
    ({}, {"image": {"tag": "0.2.0"}, "config": {"max_media": 4}}),
    ({}, {"labels": {"team": "vision"}, "podLabels": {"tier": "gpu"}}),
    ({}, {"replicas": 3, "files": {"kind": "claim"}, "secrets": {"api_key": {"name": "a", "key": "b"}}}),
    ({}, {"autoscaling": {"kind": "keda"}, "config": {"files": False}}),
    ({}, {"gpu": {"enabled": False}, "parallel": {"tensor": 2}}),
    (
        {"cache": {"kind": "perReplica"}},
        {"cache": {"kind": "perReplica"}, "replicas": 4, "config": {"files": False}, "labels": {"team": "vision"}},
    ),
    ({"cache": {"kind": "perReplica"}}, {"cache": {"kind": "perReplica", "keep": False}, "image": {"tag": "0.2.0"}}),
    ({"cache": {"kind": "claim"}}, {"cache": {"kind": "claim", "keep": False}, "labels": {"team": "vision"}}),
]


def immutable(documents: list[Document]) -> Document:
    """The fields that an API server refuses to change."""
    spec = workload(documents)["spec"]
    found = {"kind": workload(documents)["kind"], "name": workload(documents)["metadata"]["name"]}
    found |= {
        name: spec.get(name) for name in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
    }
    for document in documents:
        if document["kind"] == "PersistentVolumeClaim":
            found[f"claim {document['metadata']['name']}"] = document["spec"]
        if document["kind"] == "Service":
            found[f"service {document['metadata']['name']}"] = (
                document["spec"].get("clusterIP"),
                document["spec"]["selector"],
            )
    return found


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: json.dumps(change[1])[:60])
def test_upgrade_and_rollback_change_nothing_immutable(change: tuple[Document, Document]) -> None:
    before, after = (render(values) for values in change)
    old, new = immutable(before), immutable(after)
    assert {name: new.get(name) for name in old} == old
    assert before != after


def test_pods_are_always_found_by_the_selector() -> None:
    for before, after in CHANGES:
        for values in (before, after):
            spec = workload(render(values))["spec"]
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_a_new_version_of_the_chart_rolls_no_pod() -> None:
    """Only what pods are made of is in their template: no version of the chart, no time, no random name."""
    template = workload(render())["spec"]["template"]
    assert template == workload(render())["spec"]["template"]
    assert "helm.sh/chart" not in template["metadata"]["labels"]


def _group(name: str) -> Document:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resources(group: str, *kinds: str) -> Document:
    found = [
        {"name": f"{kind.lower()}s", "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": found}


class Cluster(http.server.BaseHTTPRequestHandler):
    """As much of a Kubernetes API as `helm template --dry-run=server` asks for: kinds, and one Secret."""

    version = "1"
    groups: ClassVar = {"apps": ("Deployment",), "networking.k8s.io": ("NetworkPolicy",)}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        secret = {"kind": "Secret", "apiVersion": "v1", "data": {"api-key": "c2VjcmV0"}}
        secret["metadata"] = {"name": "quartet", "namespace": NAMESPACE, "resourceVersion": self.version}
        answers: dict[str, Any] = {
            "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in self.groups]},
            "/api/v1": _resources("v1", "Secret", "ConfigMap", "Service", "ServiceAccount", "Pod"),
            f"/api/v1/namespaces/{NAMESPACE}/secrets/quartet": secret,
        }
        for name, kinds in self.groups.items():
            answers[f"/apis/{name}/v1"] = _resources(f"{name}/v1", *kinds)
        body = json.dumps(answers.get(path, {"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound"}))
        self.send_response(200 if path in answers else 404)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def cluster() -> Iterator[str]:
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


@pytest.mark.parametrize("program", ["helm-3", "helm-4"])
def test_a_changed_secret_rolls_the_pods(cluster: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def annotations(**more: Any) -> Document:
        values = {"secrets": {"api_key": {"name": "quartet", "key": "api-key"}}, **more}
        where = ["--namespace", NAMESPACE, "--kube-apiserver", cluster]
        where += ["--dry-run=server", "--disable-openapi-validation"]
        done = helm(program, "template", RELEASE, str(CHART), *where, values=values)
        assert done.returncode == 0, done.stderr
        documents = [item for item in yaml.safe_load_all(done.stdout) if item]
        found: Document = workload(documents)["spec"]["template"]["metadata"]["annotations"]
        return found

    first = annotations()
    assert annotations() == first
    monkeypatch.setattr(Cluster, "version", "2")
    assert annotations()["checksum/secrets"] != first["checksum/secrets"]
    assert annotations()["checksum/config"] == first["checksum/config"]
    assert "checksum/secrets" not in annotations(rollOnSecretChange=False)
    # Nothing of the secret itself is shown, not even hashed.
