"""docker/compose.yaml: valid, safe by default, and in agreement with the server, the proxy and the chart."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from server.settings import ServerSettings
from tests.docker.composed import FOLDER, config, source
from tests.support.deploy import fetched
from tests.support.scripts import ROOT

PROFILES = {
    "server": (),
    "cpu": ("cpu",),
    "prometheus": ("monitoring",),
    "grafana": ("monitoring",),
    "replica-0": ("scale",),
    "replica-1": ("scale",),
    "proxy": ("scale",),
    "valkey": ("scale",),
    "store": ("scale",),
}
OURS = ("server", "cpu", "replica-0", "replica-1")


def test_schema() -> None:
    schema = json.loads(fetched("compose.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(source())] == []
    broken = source()
    broken["services"]["server"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] = "gpu"
    assert list(Draft7Validator(schema).iter_errors(broken))


def test_profiles() -> None:
    services = source()["services"]
    assert {name: tuple(service.get("profiles", ())) for name, service in services.items()} == PROFILES


@pytest.mark.parametrize("profile", ["", "cpu", "monitoring", "scale"])
def test_every_profile_resolves(profile: str) -> None:
    resolved = config(*([profile] if profile else []))
    assert set(resolved["services"]) >= {name for name, profiles in PROFILES.items() if profile in profiles}
    for name in OURS:
        environment = resolved["services"][name]["environment"]
        known = {f"QUARTET_{field.upper()}" for field in ServerSettings.model_fields}
        assert set(environment) <= known, "a variable that is no setting keeps the server from starting"


def test_only_this_machine_is_served_unless_it_is_said() -> None:
    def ports(**environment: str) -> dict[str, list[str]]:
        services = config("cpu", "monitoring", "scale", **environment)["services"]
        return {name: service["ports"] for name, service in services.items() if "ports" in service}

    published = ports()
    assert published == {
        "server": ["127.0.0.1:8000:8000/tcp"],
        "cpu": ["127.0.0.1:8000:8000/tcp"],
        "proxy": ["127.0.0.1:8000:8080/tcp"],
        "prometheus": ["127.0.0.1:9090:9090/tcp"],
        "grafana": ["127.0.0.1:3000:3000/tcp"],
    }
    assert ports(BIND="10.1.2.3", PORT="80")["server"] == ["10.1.2.3:80:8000/tcp"]


def test_secrets_come_from_outside() -> None:
    services = config("scale", QUARTET_API_KEY="k" * 24, STORE_SECRET_KEY="s3", VALKEY_PASSWORD="v")["services"]
    assert services["server"]["environment"]["QUARTET_API_KEY"] == "k" * 24
    replica = services["replica-1"]["environment"]
    assert replica["QUARTET_FILES_SECRET_KEY"] == "s3"
    assert replica["QUARTET_LIMITS_URL"] == "redis://:v@valkey:6379/0"
    assert services["valkey"]["command"][-1] == "v"
    text = (FOLDER / "server.env").read_text()
    assert not re.search(r"^QUARTET_(API_KEY|HUB_TOKEN|\w*SECRET\w*|LIMITS_URL)=", text, re.M)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_rights(name: str) -> None:
    service = source()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["healthcheck"]["start_period"] == "60m"
    assert "/ready" in service["healthcheck"]["test"][-1]


def test_every_container_but_those_that_need_root_drops_its_rights() -> None:
    kept = {name for name, service in source()["services"].items() if service.get("cap_drop") != ["ALL"]}
    assert kept == {"store"}


def test_gpus() -> None:
    def devices(name: str) -> Any:
        return source()["services"][name]["deploy"]["resources"]["reservations"]["devices"]

    assert devices("server") == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    # Each its own: a count of one would give both the first.
    assert devices("replica-0") == [{"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}]
    assert devices("replica-1") == [{"driver": "nvidia", "device_ids": ["1"], "capabilities": ["gpu"]}]
    assert "deploy" not in source()["services"]["cpu"]


def test_images_are_pinned() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for service in source()["services"].values():
        image = re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", service["image"])
        name, _, tag = image.partition(":")
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z]+)?", tag), image
        if name == "quartet":
            assert tag in (version, f"{version}-demo")


def settings_of_the_file() -> dict[str, str]:
    lines = [line for line in (FOLDER / "server.env").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)  # type: ignore[misc]


def test_the_server_is_given_longer_to_end_than_it_takes() -> None:
    grace = float(settings_of_the_file()["QUARTET_GRACE_SECONDS"])
    for name in OURS:
        assert int(source()["services"][name]["stop_grace_period"].removesuffix("s")) >= grace + 25


def test_the_environment_file_names_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from server.settings import load

    for name, value in settings_of_the_file().items():
        monkeypatch.setenv(name, value)
    loaded = load({}).settings
    assert loaded.max_body_bytes == ServerSettings().max_body_bytes
    assert loaded.metrics_access == "open"
    assert loaded.model == ServerSettings().model


def test_mounted_files_exist() -> None:
    for service in source()["services"].values():
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            if place.startswith("./"):
                assert (FOLDER / place).exists(), place
            elif not place.startswith("$"):
                assert place in source()["volumes"], place


def test_the_store_is_told_its_keys(tmp_path: Path) -> None:
    """The shell of its container writes a configuration that is JSON, whatever it starts afterwards."""
    import subprocess

    script = config("scale")["services"]["store"]["command"][0].replace("$$", "$")
    writing = script.partition("; (until")[0].replace("/tmp/s3.json", str(tmp_path / "s3.json"))
    environment = {"STORE_ACCESS_KEY": "a", "STORE_SECRET_KEY": "b"}
    subprocess.run(["/bin/sh", "-c", writing], env=environment, check=True)
    (identity,) = json.loads((tmp_path / "s3.json").read_text())["identities"]
    assert identity["credentials"] == [{"accessKey": "a", "secretKey": "b"}]


def test_prometheus_reads_every_server() -> None:
    jobs = yaml.safe_load((FOLDER / "monitoring" / "prometheus.yaml").read_text())["scrape_configs"]
    (names,) = (discovery["names"] for job in jobs for discovery in job["dns_sd_configs"])
    assert names == ["server", "replica-0", "replica-1"]
    assert source()["services"]["cpu"]["networks"] == {"default": {"aliases": ["server"]}}
