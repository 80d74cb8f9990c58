"""Flags, environment and file: same names, one order, unknown names refused, secrets never shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.cli import main
from model.errors import ConfigurationError
from server.settings import ServerSettings, load
from server.settings.messages import accepted, is_secret
from server.settings.show import show

FIELDS = ServerSettings.model_fields
# One value for every setting that is not its default; a new setting fails here until it has one.
VALUES: dict[str, Any] = {
    "model": "org/name",
    "name": "other",
    "dtype": "float32",
    "max_model_len": 512,
    "hub_token": "s3cret",
    "device": "gpu",
    "kv_cache_mib": 64,
    "threads": 3,
    "host": "0.0.0.0",
    "port": 9000,
    "cors_origins": ["https://a.org", "https://b.org"],
    "max_body_bytes": 1 << 20,
    "head_timeout": 2.5,
    "body_timeout": 5.5,
    "send_timeout": 20.5,
    "idle_timeout": 75,
    "max_connections": 900,
    "lora_modules": {"one": "a", "two": "b"},
    "default_mm_loras": {"image": "one"},
    "lora_directory": "adapters",
    "max_loras": 2,
    "max_lora_rank": 32,
    "max_lora_bytes": 4096,
    "max_running": 8,
    "max_waiting": 0,
    "max_wait": 2.5,
    "warm_up": False,
    "grace_seconds": 3.5,
    "keys_file": "keys.yaml",
    "api_key": "k" * 24,
    "metrics_access": "open",
    "limits_url": "redis://:s3cret@127.0.0.1:6379/0",
    "limits_without_store": "closed",
    "max_media": 7,
    "max_image_pixels": 1000,
    "max_audio_seconds": 12.5,
    "max_media_bytes": 4096,
    "files": False,
    "files_dir": "files",
    "files_url": "s3://bucket/prefix",
    "files_endpoint": "https://s3.example.org",
    "files_region": "eu-central-1",
    "files_access_key": "s3cret",
    "files_secret_key": "s3cret",
    "max_file_bytes": 4096,
    "max_files": 10,
    "max_files_bytes": 1 << 20,
    "files_expire_after": 7200,
    "files_expire_max": 86400,
    "files_sweep_seconds": 2.5,
    "decode_workers": 3,
    "decode_queue": 0,
    "decode_seconds": 2.5,
    "fetch_hosts": ["a.org", "*.b.org"],
    "fetch_schemes": ["https", "http"],
    "fetch_ports": [443, 8443],
    "fetch_redirects": 2,
    "fetch_seconds": 2.5,
    "fetch_concurrency": 3,
    "metrics_by_key": True,
    "log_format": "json",
    "log_level": "debug",
    "otlp_endpoint": "http://127.0.0.1:4317",
    "otlp_protocol": "http/protobuf",
    "playground": True,
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "quartet.yaml"
        path.write_text(text)
        return str(path)

    return write


def spell(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_one_name_in_all_sources(
    name: str, config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = getattr(ServerSettings(**{name: VALUES[name]}), name)
    assert expected != FIELDS[name].default
    file = config(yaml.safe_dump({name: VALUES[name]}))
    assert getattr(load({}, file).settings, name) == expected
    assert getattr(load({name: spell(VALUES[name])}).settings, name) == expected
    monkeypatch.setenv(f"QUARTET_{name.upper()}", spell(VALUES[name]))
    assert getattr(load({}).settings, name) == expected


def test_flags_win_over_environment_over_file(config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = config("port: 1\nhost: file\nmax_media: 3\n")
    monkeypatch.setenv("QUARTET_PORT", "2")
    monkeypatch.setenv("QUARTET_HOST", "environment")
    monkeypatch.setenv("QUARTET_NAME", "")
    loaded = load({"port": "3"}, file)
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.max_media) == (3, "environment", 3)
    origins = {name: origin for name, origin in loaded.origins.items() if origin != "default"}
    assert origins == {"port": "--port", "host": "QUARTET_HOST", "max_media": file}
    monkeypatch.setenv("QUARTET_CONFIG", file)
    assert load({}).settings.max_media == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 1", "quartet.yaml:1: prot: unknown setting; did you mean port?"),
        ("port: 1\n\nmax-media: 3", "quartet.yaml:3: max-media: unknown setting; did you mean max_media?"),
        ("port: 1\nport: 2", "quartet.yaml:2: port: given twice"),
        ("zzz: 1", "known are api_key, body_timeout"),
        ("- port", "expected settings"),
        ("5", "expected settings"),
        ("port: [", "quartet.yaml:1: not YAML"),
        ("port: 0", "port: 0 is outside 1..65535 (from "),
        ("port: yes", "port: True: is a switch"),
        ("port: [1]", "port: [1]:"),
        ("body_timeout: fast", "body_timeout: 'fast': input should be a valid number"),
        ("device: tpu", "device: 'tpu' is not one of auto, cpu, gpu"),
        ("model: ''", "model: must not be empty"),
        ("hub_token: 12345", "hub_token: the secret must be a string"),
        ("port: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_bad_files_are_named(config: Callable[[str], str], text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load({}, config(text))
    assert words in str(raised.value)
    assert "12345" not in str(raised.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load({}, str(tmp_path / "missing.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load({}, str(tmp_path / "bytes.yaml"))
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load({}, str(tmp_path / "empty.yaml")).settings == ServerSettings()


def test_unknown_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_MAX_MEDIUM", "1")
    with pytest.raises(ConfigurationError, match="QUARTET_MAX_MEDIUM: unknown setting; did you mean QUARTET_MAX_MEDIA"):
        load({})


def test_what_kubernetes_says_about_a_service_called_quartet_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "QUARTET_PORT": "tcp://10.0.0.7:8000",
        "QUARTET_SERVICE_HOST": "10.0.0.7",
        "QUARTET_SERVICE_PORT": "8000",
        "QUARTET_SERVICE_PORT_HTTP": "8000",
        "QUARTET_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "QUARTET_PORT_8000_TCP_ADDR": "10.0.0.7",
    }.items():
        monkeypatch.setenv(name, value)
    assert load({}).settings == ServerSettings()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in VALUES.items()}))
def test_what_is_shown_gives_the_same_settings_again(values: dict[str, Any], config: Callable[[str], str]) -> None:
    loaded = load(values)
    shown = show(loaded)
    secrets = [name for name, field in FIELDS.items() if is_secret(field)]
    for name in secrets:
        assert VALUES[name] not in shown
        assert VALUES[name] not in repr(loaded)
    again = load({}, config(shown)).settings
    assert again.model_copy(update={name: getattr(loaded.settings, name) for name in secrets}) == loaded.settings


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_help_is_complete_and_grouped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run("serve", "--help") == 0
    shown = capsys.readouterr().out
    for section, names in ServerSettings.sections().items():
        heading = shown.index(f"\n{section.title}:\n")
        for name in names:
            field = FIELDS[name]
            assert field.description, name
            if is_secret(field):
                assert f"QUARTET_{name.upper()}" in shown
                assert f"--{name.replace('_', '-')}" not in shown
            else:
                flag = f"  --{name.replace('_', '-')}"
                flag += f" / --no-{name.replace('_', '-')}" if field.annotation is bool else f" {accepted(field)}"
                assert heading < shown.index(flag)
    assert "engine_flags" in shown


def test_config_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("QUARTET_HUB_TOKEN", "s3cret")
    assert run("config", "--port", "77") == 0
    shown = capsys.readouterr()
    values = yaml.safe_load(shown.out)
    assert set(values) == {name for name, field in FIELDS.items() if not is_secret(field)}
    assert values["port"] == 77
    assert "# --port" in shown.out
    assert "# hub_token: set, from QUARTET_HUB_TOKEN" in shown.out
    assert "s3cret" not in shown.out + shown.err


def test_wrong_flags_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--prot", "1") == 2
    assert "--port" in capsys.readouterr().err
