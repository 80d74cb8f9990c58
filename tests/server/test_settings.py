import json
from itertools import pairwise

import pytest

from model.errors import ConfigurationError
from server.launcher import command, refuse_flags
from server.settings import MIDDLEWARE, ServerSettings, load

MODALITIES = {"image": 4, "audio": 4}


def flags(settings: ServerSettings, context: int = 8192) -> dict[str, str]:
    """Flags with a value, by name; the last one wins, as in vLLM."""
    given = settings.flags(MODALITIES, context)
    return {name: value for name, value in zip(given, [*given[1:], ""], strict=True) if name.startswith("--")}


def test_defaults_keep_to_this_machine_and_this_directory() -> None:
    environment = ServerSettings(device="cpu").environment({})
    assert flags(ServerSettings(device="cpu"))["--host"] == "127.0.0.1"
    assert environment["VLLM_PLUGINS"] == "quartet,quartet_http,quartet_metrics"
    assert environment["VLLM_MEDIA_CONNECTOR"] == "quartet"


def test_operator_s_environment_wins_where_it_may() -> None:
    base = {"MALLOC_ARENA_MAX": "8", "OMP_NUM_THREADS": "3", "VLLM_MEDIA_CONNECTOR": "http", "PATH": "/bin"}
    environment = ServerSettings(device="cpu").environment(base)
    assert environment["MALLOC_ARENA_MAX"] == "8"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["PATH"] == "/bin"
    # The media connector is what keeps the server out of the network.
    assert environment["VLLM_MEDIA_CONNECTOR"] == "quartet"
    assert ServerSettings(device="cpu", threads=5).environment(base)["OMP_NUM_THREADS"] == "5"


def test_gpu_keeps_vllm_s_own_choices() -> None:
    gpu = flags(ServerSettings(device="gpu"))
    for name in ("--enforce-eager", "--max-num-seqs", "--max-num-batched-tokens", "--kv-cache-memory-bytes"):
        assert name not in gpu
    assert "VLLM_CPU_OMP_THREADS_BIND" not in ServerSettings(device="gpu").environment({})
    assert flags(ServerSettings(device="gpu", kv_cache_mib=1024))["--kv-cache-memory-bytes"] == str(1 << 30)


def test_media_limit_is_bounded_by_the_context() -> None:
    assert json.loads(flags(ServerSettings(device="cpu"))["--limit-mm-per-prompt"]) == {"image": 32, "audio": 32}
    limits = flags(ServerSettings(device="cpu", max_model_len=64))["--limit-mm-per-prompt"]
    assert json.loads(limits) == {"image": 16, "audio": 16}
    assert json.loads(flags(ServerSettings(device="cpu", max_media=0))["--limit-mm-per-prompt"])["image"] == 0


def test_cache_holds_a_conversation_of_full_length() -> None:
    settings = ServerSettings(device="cpu")
    for token, expected in ((23_040, 256 << 20), (46_080, (8192 + 128) * 46_080)):
        given = settings.flags(MODALITIES, 8192, token)
        assert given[given.index("--kv-cache-memory-bytes") + 1] == str(expected)
    assert flags(ServerSettings(device="cpu", kv_cache_mib=64))["--kv-cache-memory-bytes"] == str(64 << 20)


def test_length_never_exceeds_the_language_model_s() -> None:
    assert flags(ServerSettings(device="cpu"), 1024)["--max-model-len"] == "1024"
    assert flags(ServerSettings(device="cpu", max_model_len=512), 1024)["--max-model-len"] == "512"
    assert flags(ServerSettings(device="cpu", max_model_len=4096), 1024)["--max-model-len"] == "1024"


def test_middleware_is_named_inside_out() -> None:
    given = ServerSettings(device="cpu", otlp_endpoint="http://localhost:4317").flags(MODALITIES, 100)
    assert [value for flag, value in pairwise(given) if flag == "--middleware"] == list(MIDDLEWARE)
    assert MIDDLEWARE[-1].endswith("RequestHeaders")


def test_settings_reach_the_server_s_processes_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings(
        port=1234,
        name="a b",
        cors_origins=["https://a.org", "https://b.org,c"],
        hub_token="secret",
        max_audio_seconds=9,
    )
    environment = settings.environment(
        {"QUARTET_PORT": "1", "QUARTET_THREADS": "2", "QUARTET_CONFIG": "x", "HOME": "/"}
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load({}).settings == settings
    assert settings.environment(environment) == environment
    assert environment["HF_TOKEN"] == "secret"
    assert command(["--seed", "1"])[1:] == ["-m", "server.launcher", "--seed", "1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("device", "tpu"),
        ("dtype", "int8"),
        ("max_media", -1),
        ("max_model_len", 1),
        ("max_image_pixels", 0),
        ("threads", 0),
        ("model", ""),
    ],
)
def test_impossible_values_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}: "):
        ServerSettings(**{field: value})  # type: ignore[arg-type]


def test_nothing_is_traced_unless_told_to() -> None:
    plain, traced = ServerSettings(device="cpu"), ServerSettings(device="cpu", otlp_endpoint="http://localhost:4317")
    assert not [word for word in plain.flags(MODALITIES, 100) if "traces" in word]
    assert "OTEL_SERVICE_NAME" not in plain.environment({})
    assert flags(traced)["--otlp-traces-endpoint"] == "http://localhost:4317"
    assert traced.environment({"OTEL_SERVICE_NAME": "mine"})["OTEL_SERVICE_NAME"] == "mine"
    assert traced.environment({})["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "grpc"
    with pytest.raises(ConfigurationError, match="otlp_endpoint"):
        ServerSettings(otlp_endpoint="collector:4317")


@pytest.mark.parametrize("flag", ["--headless", "--api-server-count=4", "--api_server_count"])
def test_flags_that_would_be_ignored_are_refused(flag: str) -> None:
    with pytest.raises(ConfigurationError, match=flag):
        refuse_flags(["--tensor-parallel-size", "2", flag])
    refuse_flags(["--tensor-parallel-size", "2"])
