"""What the objects say, in exact values: the things that are wrong in charts that render well."""

import json

import pytest
import yaml

from tests.helm.charts import (
    CHART,
    CI,
    SELECTOR,
    Document,
    kinds,
    of_file,
    one,
    pod,
    refusal,
    render,
    server,
    template,
    variables,
    workload,
)

# Several pods need a place that all of them can read.
NO_FILES: Document = {"config": {"files": False}}


def every() -> list[tuple[Document, ...]]:
    return [template("helm-4", "1.37.0", file) for file in [None, *CI]]


def test_defaults() -> None:
    documents = template("helm-4", "1.37.0", None)
    assert kinds(documents) == {"ConfigMap", "Deployment", "NetworkPolicy", "Pod", "Service", "ServiceAccount"}
    deployment = one(documents, "Deployment")
    assert deployment["metadata"]["name"] == "blue-quartet"
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert deployment["spec"]["template"]["metadata"]["labels"] == SELECTOR
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }
    assert one(documents, "Service")["spec"] == {
        "type": "ClusterIP",
        "selector": SELECTOR,
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
    }
    container = server(documents)
    assert (container["image"], container["command"], container["args"]) == ("quartet:0.1.0", ["quartet"], ["serve"])
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}


def test_every_pod_is_fit_for_the_restricted_standard() -> None:
    """Kubernetes' pod security standard "restricted", and a root file system that cannot be written."""
    for documents in every():
        for specification in [pod(documents), one(documents, "Pod")["spec"]]:
            assert specification["automountServiceAccountToken"] is False
            assert specification["enableServiceLinks"] is False
            assert not {"hostNetwork", "hostPID", "hostIPC"} & specification.keys()
            assert specification["securityContext"]["runAsNonRoot"] is True
            assert specification["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
            assert all(set(volume) - {"name"} <= allowed for volume in specification.get("volumes", []))
            for container in specification["containers"] + specification.get("initContainers", []):
                if container["name"] in ("side", "wait"):
                    continue  # the user's own
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }


def test_what_is_written_lies_on_volumes_that_can_be() -> None:
    for documents in every():
        writable = {mount["mountPath"] for mount in server(documents)["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"/cache", "/files", "/tmp", "/dev/shm"}
        environment = variables(server(documents))
        for name in ("HOME", "QUARTET_CACHE", "HF_HOME", "VLLM_CACHE_ROOT"):
            assert environment[name].startswith(("/cache", "/tmp"))
        mounted = {mount["name"] for mount in server(documents)["volumeMounts"]}
        made = {volume["name"] for volume in pod(documents)["volumes"]}
        templates = workload(documents)["spec"].get("volumeClaimTemplates", [])
        assert mounted == made | {item["metadata"]["name"] for item in templates}


def test_probes_fit_minutes_of_loading() -> None:
    container = server(of_file("gpu-single"))
    assert container["startupProbe"] == {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": 720,
    }
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert one(of_file("gpu-single"), "Deployment")["spec"]["progressDeadlineSeconds"] > 3600
    assert server(of_file("everything"))["startupProbe"]["failureThreshold"] == 7200 // 5


@pytest.mark.parametrize(
    ("name", "grace", "pause"), [("gpu-single", 70, "10"), ("ingress", 161, "10"), ("everything", 90, None)]
)
def test_the_pod_s_grace_is_that_of_the_server(name: str, grace: int, pause: str | None) -> None:
    """Pause + `grace_seconds`, rounded up, + the engine's end; the pause counts, which is often forgotten."""
    documents = of_file(name)
    assert pod(documents)["terminationGracePeriodSeconds"] == grace
    hook = server(documents).get("lifecycle", {}).get("preStop")
    assert hook == ({"exec": {"command": ["sleep", pause]}} if pause else None)


def test_gpus_are_those_of_the_parallelism() -> None:
    documents = of_file("tensor-parallel")
    assert server(documents)["resources"]["limits"] == {"nvidia.com/gpu": 4}
    flags = ["--tensor-parallel-size", "4", "--gpu-memory-utilization", "0.9", "--mm-encoder-tp-mode", "data"]
    assert server(documents)["args"] == ["serve", "--", *flags]
    documents = of_file("data-parallel")
    assert server(documents)["resources"]["limits"] == {"nvidia.com/gpu": 8}
    assert server(documents)["args"] == ["serve", "--", "--data-parallel-size", "8"]
    assert server(of_file("everything"))["resources"]["limits"] == {"nvidia.com/mig-3g.40gb": 4}
    documents = of_file("cpu-demo")
    assert server(documents)["resources"]["limits"] == {"memory": "4Gi"}
    assert server(documents)["image"] == "quartet:0.1.0-demo"
    assert server(render({"gpu": {"enabled": False}}))["image"] == "quartet:0.1.0-cpu"
    shared = {volume["name"]: volume for volume in pod(of_file("data-parallel"))["volumes"]}["shared-memory"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}


def test_no_secret_is_written_down() -> None:
    documents = of_file("existing-secrets")
    environment = variables(server(documents))
    assert environment["QUARTET_API_KEY"] == ("quartet", "api-key")
    (prefetch,) = pod(documents)["initContainers"]
    # Only who downloads gets the hub's token, and the server asks nobody.
    assert variables(prefetch)["HF_TOKEN"] == ("hub", "token")
    assert "QUARTET_HUB_TOKEN" not in environment
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "QUARTET_API_KEY" not in variables(prefetch)
    assert variables(one(documents, "Pod")["spec"]["containers"][0])["API_KEY"] == ("quartet", "api-key")
    config = yaml.safe_load(one(documents, "ConfigMap")["data"]["quartet.yaml"])
    assert config["keys_file"] == "/etc/quartet/keys/api-keys.yaml"
    keys = {volume["name"]: volume for volume in pod(documents)["volumes"]}["keys"]
    assert keys["secret"] == {"secretName": "quartet-keys"}
    # A folder, not one file of it: a file that is mounted alone would never change.
    (mount,) = (item for item in server(documents)["volumeMounts"] if item["name"] == "keys")
    assert mount == {"name": "keys", "mountPath": "/etc/quartet/keys", "readOnly": True}
    without = render({"secrets": {"hub_token": {"name": "hub", "key": "token"}}, "prefetch": {"enabled": False}})
    assert variables(server(without))["QUARTET_HUB_TOKEN"] == ("hub", "token")
    assert "initContainers" not in pod(without)
    for documents in every():
        assert "Secret" not in kinds(documents)


def test_a_change_of_the_configuration_rolls_the_pods() -> None:
    def checksum(values: Document) -> str:
        annotations = workload(render(values))["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    assert checksum({}) == checksum({"test": {"picture": False}}) != checksum({"config": {"max_media": 8}})


def test_replicas_are_left_to_the_autoscaler() -> None:
    for name in ("hpa", "keda"):
        assert "replicas" not in workload(of_file(name))["spec"]
    assert one(of_file("hpa"), "HorizontalPodAutoscaler")["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "blue-quartet"},
        "minReplicas": 2,
        "maxReplicas": 6,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "vllm_num_requests_waiting"},
                    "target": {"type": "AverageValue", "averageValue": "8"},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
    }


def test_keda_asks_for_what_vllm_emits() -> None:
    """vLLM's label is `model_name`; a name with quotes in it does not end the query."""
    scaled = one(of_file("keda"), "ScaledObject")["spec"]
    prometheus, cron = scaled["triggers"]
    query = r'sum(vllm:num_requests_waiting{model_name="quartet \"7b\"",namespace="models"})'
    assert prometheus["metadata"]["query"] == query
    assert prometheus["metadata"]["threshold"] == "4"
    assert prometheus["authenticationRef"] == {"name": "prometheus", "kind": "ClusterTriggerAuthentication"}
    assert cron["type"] == "cron"
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (0, 3)
    own = render({"autoscaling": {"kind": "keda", "keda": {"query": "sum(up)"}}, **NO_FILES})
    assert one(own, "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"] == "sum(up)"
    stateful = render({"autoscaling": {"kind": "keda"}, "cache": {"kind": "perReplica"}, **NO_FILES})
    assert one(stateful, "ScaledObject")["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"


def test_a_budget_only_where_there_is_something_to_keep() -> None:
    """With one pod it would keep its node from ever being drained."""
    assert "PodDisruptionBudget" not in kinds(of_file("gpu-single")) | kinds(of_file("keda"))
    budget = one(of_file("replicas"), "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == {"matchLabels": SELECTOR}
    assert "PodDisruptionBudget" in kinds(of_file("hpa"))
    assert "PodDisruptionBudget" not in kinds(render({"replicas": 2, "disruption": {"enabled": False}, **NO_FILES}))


def test_monitors() -> None:
    monitor = one(of_file("monitoring"), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert monitor["spec"]["selector"] == {"matchLabels": SELECTOR}
    assert monitor["spec"]["endpoints"] == [
        {
            "port": "http",
            "path": "/metrics",
            "interval": "15s",
            "authorization": {"credentials": {"name": "quartet", "key": "api-key"}},
        }
    ]
    assert one(of_file("pod-monitor"), "PodMonitor")["spec"]["podMetricsEndpoints"] == [
        {"port": "http", "path": "/metrics", "interval": "30s"}
    ]
    rules = one(of_file("monitoring"), "PrometheusRule")
    written = yaml.safe_load((CHART.parent / "docker/monitoring/rules.yaml").read_text())
    assert rules["spec"] == written
    assert rules["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    dashboard = one(of_file("monitoring"), "ConfigMap", "blue-quartet-dashboard")
    drawn = json.loads((CHART.parent / "docker/monitoring/dashboard.json").read_text())
    assert json.loads(dashboard["data"]["quartet.json"]) == drawn
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    # The monitor's selector finds one Service, also where there is a second one for the names of pods.
    services = [item for item in of_file("replicas") if item["kind"] == "Service"]
    assert len(services) == 2
    chosen = [item for item in services if SELECTOR.items() <= item["metadata"]["labels"].items()]
    assert [item["metadata"]["name"] for item in chosen] == ["blue-quartet"]


def test_caches() -> None:
    cache = one(of_file("gpu-single"), "PersistentVolumeClaim", "blue-quartet-cache")
    assert cache["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "60Gi"}},
    }
    assert cache["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    stateful = one(of_file("replicas"), "StatefulSet")["spec"]
    assert stateful["serviceName"] == "blue-quartet-pods"
    assert stateful["podManagementPolicy"] == "Parallel"
    assert stateful["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Retain"}
    (claim,) = stateful["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "cache"
    assert "PersistentVolumeClaim" not in kinds(of_file("replicas"))
    volumes = {volume["name"]: volume for volume in pod(of_file("data-parallel"))["volumes"]}
    assert volumes["cache"] == {"name": "cache", "persistentVolumeClaim": {"claimName": "weights"}}


def test_uploaded_files() -> None:
    """On a volume of the pod, on one for all, or in a bucket whose keys come from a Secret."""
    text = one(template("helm-4", "1.37.0", None), "ConfigMap")["data"]["quartet.yaml"]
    assert yaml.safe_load(text)["files_dir"] == "/files"
    volumes = {volume["name"]: volume for volume in pod(of_file("gpu-single"))["volumes"]}
    assert volumes["files"]["persistentVolumeClaim"] == {"claimName": "blue-quartet-files"}
    claim = one(of_file("gpu-single"), "PersistentVolumeClaim", "blue-quartet-files")
    assert claim["spec"]["resources"] == {"requests": {"storage": "50Gi"}}
    volumes = {volume["name"]: volume for volume in pod(of_file("keda"))["volumes"]}
    assert volumes["files"]["persistentVolumeClaim"] == {"claimName": "uploads"}
    environment = variables(server(of_file("replicas")))
    assert environment["QUARTET_FILES_SECRET_KEY"] == ("bucket", "secret-key")


def test_weights_are_fetched_before_the_server_starts() -> None:
    (prefetch,) = pod(of_file("hpa"))["initContainers"]
    assert prefetch["command"] == ["quartet", "fetch", "example/quartet-7b"]
    assert prefetch["image"] == server(of_file("hpa"))["image"]
    caches = {name: value for name, value in variables(prefetch).items() if value.startswith("/cache")}
    assert caches.items() <= variables(server(of_file("hpa"))).items()
    (prefetch,) = pod(template("helm-4", "1.37.0", None))["initContainers"]
    assert prefetch["command"] == ["quartet", "fetch"]


def test_openshift_gets_no_ids() -> None:
    context = pod(of_file("openshift"))["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()


def test_names_and_extra_objects() -> None:
    documents = of_file("everything")
    assert workload(documents)["metadata"]["name"] == "sight-and-sound"
    assert workload(documents)["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == "sight"
    assert one(documents, "ConfigMap", "blue-more")["data"] == {"model": "quartet-7b"}
    assert one(documents, "ConfigMap", "blue-text")
    assert pod(documents)["serviceAccountName"] == "vision"
    assert "ServiceAccount" not in kinds(documents)
    assert workload(documents)["metadata"]["labels"]["team"] == "vision"
    assert workload(documents)["spec"]["template"]["metadata"]["labels"]["tier"] == "gpu"


def test_spread() -> None:
    spread = pod(of_file("replicas"))["topologySpreadConstraints"]
    assert [(item["topologyKey"], item["maxSkew"], item["whenUnsatisfiable"]) for item in spread] == [
        ("kubernetes.io/hostname", 1, "DoNotSchedule"),
        ("topology.kubernetes.io/zone", 1, "ScheduleAnyway"),
    ]
    assert all(item["labelSelector"] == {"matchLabels": SELECTOR} for item in spread)


def test_images_are_pinned() -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    assert server(of_file("existing-secrets"))["image"] == f"registry.example.org/quartet@{digest}"
    assert "image" in refusal({"image": {"tag": "latest"}})


def test_the_chart_is_of_this_version() -> None:
    import tomllib

    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((CHART.parent / "pyproject.toml").read_text())["project"]["version"]
    assert about["appVersion"] == version
    assert json.dumps(about["kubeVersion"]) == '">=1.27-0"'
