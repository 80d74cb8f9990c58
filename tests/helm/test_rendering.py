"""Every way of using the chart gives objects that clusters accept, with both Helms, on an old and a new Kubernetes."""

from pathlib import Path

import pytest

from tests.helm.charts import CHART, CI, helm, template
from tests.support.deploy import HELM, KUBERNETES, mistakes

# Nobody on a package index describes the Gateway API; what the chart makes of it is compared with exact values.
UNDESCRIBED = {"HTTPRoute"}


@pytest.mark.parametrize("file", [None, *CI], ids=lambda file: file.name if file else "defaults")
def test_lint(file: Path | None) -> None:
    for program in HELM:
        done = helm(program, "lint", "--strict", str(CHART), *(["--values", str(file)] if file else []))
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("file", [None, *CI], ids=lambda file: file.name if file else "defaults")
def test_objects_are_valid(file: Path | None) -> None:
    """The old Helm renders for the old Kubernetes, the new for the new; the objects are the same and fit both."""
    old, new = (template(*pair, file) for pair in zip(HELM, KUBERNETES, strict=True))
    assert old == new
    wrong = [
        f"{kubernetes}: {mistake}"
        for kubernetes in KUBERNETES
        for document in new
        if document["kind"] not in UNDESCRIBED
        for mistake in mistakes(kubernetes, document)
    ]
    assert wrong == []


def test_the_check_finds_mistakes() -> None:
    """A schema that lets everything pass would make the test above worthless."""
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replica": 1}}
    assert any("replica" in text for text in mistakes(KUBERNETES[0], deployment))
    trigger = {"type": "prometheus", "metadata": {"threshold": 5}}
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "x"},
        "spec": {"scaleTargetRef": {"name": "x"}, "triggers": [trigger]},
    }
    assert any("5 is not of type 'string'" in text for text in mistakes(KUBERNETES[0], scaled))
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "x"}}
    monitor |= {"spec": {"selector": {}, "endpoint": []}}
    assert any("endpoint" in text for text in mistakes(KUBERNETES[0], monitor))


def test_every_object_has_the_release_s_labels_and_namespace() -> None:
    for file in [None, *CI]:
        for document in template("helm-4", KUBERNETES[-1], file):
            if document["metadata"]["name"] in ("blue-more", "blue-text"):
                continue  # extra objects are the user's own
            assert document["metadata"]["namespace"] == "models"
            labels = document["metadata"]["labels"]
            assert labels["app.kubernetes.io/managed-by"] == "Helm"
            assert labels["helm.sh/chart"].startswith("quartet-")
