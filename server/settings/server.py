"""`ServerSettings`: all sections in one typed class, and how its values reach vLLM and the server's processes.

Flags of vLLM follow the machine: on a CPU they are chosen for a small, shared one; on a GPU vLLM's own defaults stand.
"""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from model.errors import ConfigurationError
from server.memory import keeping
from server.settings.adapters import AdapterSettings
from server.settings.engine import EngineSettings
from server.settings.fetch import FetchSettings
from server.settings.files import FileSettings
from server.settings.keys import KeySettings
from server.settings.life import LifeSettings
from server.settings.limits import LimitSettings
from server.settings.media import MediaSettings
from server.settings.messages import explain
from server.settings.model import ModelSettings
from server.settings.network import NetworkSettings
from server.settings.observe import ObserveSettings
from server.settings.playground import PlaygroundSettings
from server.settings.sections import Section

PREFIX = "QUARTET_"
# From the inside out: the last one sees a request first.
MIDDLEWARE = (
    "server.life.connections.Connections",
    "server.life.warm.WarmUp",
    "server.middleware.usage.OpenAIUsage",
    "server.life.drain.Drain",
    "server.middleware.errors.OpenAIErrors",
    "server.middleware.body.BodyLimits",
    "server.life.pressure.BackPressure",
    "server.limits.middleware.KeyLimits",
    "server.keys.middleware.ApiKeys",
    "server.middleware.routes.AllowedRoutes",
    "server.middleware.outcome.Outcomes",
    "server.traces.middleware.Traces",
    "server.middleware.headers.RequestHeaders",
)
# Only where traces go somewhere.
TRACES = MIDDLEWARE[-2]
# Names of our entry points. Naming them keeps other installed plugins out of the server.
PLUGINS = ("quartet", "quartet_http", "quartet_metrics")
# Tokens of one block of vLLM's key-value cache on a CPU.
KV_BLOCK = 128


class ServerSettings(
    ModelSettings,
    EngineSettings,
    AdapterSettings,
    NetworkSettings,
    LifeSettings,
    KeySettings,
    LimitSettings,
    MediaSettings,
    FetchSettings,
    FileSettings,
    PlaygroundSettings,
    ObserveSettings,
    BaseSettings,
):
    """Everything `quartet serve` can be told.

    Made from the given values only; `server.settings.sources.load` adds environment and file.

    Raises:
        ConfigurationError: naming field, value and what is accepted; never a secret's value.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain(type(self), error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The given values; other sources are asked in `server.settings.sources`, which remembers who said what."""
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        # `port: yes` in a YAML file is a mistake, not port 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("is a switch, not a value")
        return value

    @classmethod
    def sections(cls) -> dict[type[Section], tuple[str, ...]]:
        """The names of the fields of every section, in the order of the help."""
        return {
            base: tuple(base.model_fields)
            for base in cls.__bases__
            if issubclass(base, Section) and base is not Section
        }

    @property
    def served_name(self) -> str:
        """Model id in the API."""
        return self.name or Path(self.model).name

    @property
    def on_cpu(self) -> bool:
        """Whether the engine runs on the CPU."""
        return self.device == "cpu" or (self.device == "auto" and cpu_engine_installed())

    @property
    def hot_adapters(self) -> bool:
        """Whether adapters may be loaded while the server runs; only admins may, so there must be keys."""
        return self.lora_directory is not None and (self.keys_file is not None or self.api_key is not None)

    @property
    def serves_adapters(self) -> bool:
        """Whether there are or may be adapters beside the one of the checkpoint."""
        return bool(self.lora_modules) or self.hot_adapters

    def variables(self) -> dict[str, str]:
        """The settings that are not the default, as environment variables: how they reach every process."""
        default = {name: field.default for name, field in type(self).model_fields.items()}
        given = {name: getattr(self, name) for name in default}
        return {PREFIX + name.upper(): _spell(value) for name, value in given.items() if value != default[name]}

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Environment of the server's processes: `base`, our choices where it has none, and what must hold."""
        own = {PREFIX + name.upper() for name in type(self).model_fields} | {f"{PREFIX}CONFIG"}
        base = {name: value for name, value in base.items() if name.upper() not in own}
        wanted = {
            "VLLM_PLUGINS": ",".join(PLUGINS),
            "VLLM_MEDIA_CONNECTOR": "quartet",
            **self.variables(),
        }
        if self.hub_token is not None:
            wanted["HF_TOKEN"] = self.hub_token.get_secret_value()
        preferred = {
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # One request may ask for this many answers; the engine's own limit is 16384.
            "VLLM_MAX_N_SEQUENCES": "64",
        }
        if self.otlp_endpoint is not None:
            preferred["OTEL_SERVICE_NAME"] = "quartet"
            wanted["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = self.otlp_protocol
        if self.log_format == "json":
            # Progress bars are no lines.
            preferred["TQDM_DISABLE"] = "1"
        if self.on_cpu:
            preferred |= {
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                # The worker inside the engine's process: one interpreter with torch less to start and to keep. Threads
                # are not bound to cores, which is what vLLM would need a process of its own for.
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                # Threads that wait do not spin: on a machine with anything else to do, spinning at every barrier turns
                # one second into a minute (measured on 2 cores beside another busy process).
                "OMP_WAIT_POLICY": "PASSIVE",
                # Nothing is compiled (see --enforce-eager), not even the small kernel that log-probabilities would
                # otherwise wait for, 3 to 30 s, in the first request that asks for them.
                "TORCH_COMPILE_DISABLE": "1",
                # Arenas per thread cost hundreds of megabytes and gain nothing here.
                "MALLOC_ARENA_MAX": "2",
                **keeping(128 << 20),
                "VLLM_LOGGING_LEVEL": "INFO",
            }
            wanted["OMP_NUM_THREADS"] = str(self.threads or base.get("OMP_NUM_THREADS") or cores())
        return preferred | dict(base) | wanted

    def flags(self, modalities: Mapping[str, int], context: int, token_bytes: int = 0) -> list[str]:
        """Command-line flags of vLLM, without the model.

        Args:
            modalities: soft tokens per medium, by modality.
            context: tokens the language model was made for.
            token_bytes: size of one token's keys and values over all layers, bytes.
        """
        length = min(self.max_model_len or context, context)
        limits = {name: min(self.max_media, length // max(tokens, 1)) for name, tokens in modalities.items()}
        flags = {
            "--host": self.host,
            "--port": str(self.port),
            "--served-model-name": self.served_name,
            "--dtype": self.dtype,
            "--max-model-len": str(length),
            "--limit-mm-per-prompt": json.dumps(limits, separators=(",", ":")),
            # The template in the directory: the very one training and the reference used.
            "--chat-template-content-format": "openai",
        }
        if self.cors_origins:
            flags["--allowed-origins"] = json.dumps(self.cors_origins)
        # Every request has a line of ours.
        switches = ["--disable-fastapi-docs", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
        if self.on_cpu:
            # Room for one conversation of full length at least, or vLLM would not start.
            cache = max(256 << 20, (length + KV_BLOCK) * token_bytes)
            flags |= {
                "--kv-cache-memory-bytes": str(self.kv_cache_mib << 20 if self.kv_cache_mib else cache),
                "--max-num-seqs": "16",
                # Longer prompts are taken in pieces; their log-probabilities are held at once, 200 KB a token.
                "--max-num-batched-tokens": "1024",
                "--mm-processor-cache-gb": "0.25",
            }
            # Compiling takes minutes on a CPU and gains little for small models.
            switches.append("--enforce-eager")
        elif self.kv_cache_mib is not None:
            flags["--kv-cache-memory-bytes"] = str(self.kv_cache_mib << 20)
        used = [name for name in MIDDLEWARE if name != TRACES or self.otlp_endpoint]
        if self.otlp_endpoint is not None:
            flags["--otlp-traces-endpoint"] = self.otlp_endpoint
        middleware = [item for name in used for item in ("--middleware", name)]
        return [item for pair in flags.items() for item in pair] + switches + middleware


def _spell(value: Any) -> str:
    """A value as an environment variable; reading it back gives the value."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, tuple | list | dict) else str(value)


def cpu_engine_installed() -> bool:
    """Whether the installed vLLM is the CPU build (its distribution has another name)."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
