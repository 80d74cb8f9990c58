"""What an operator can choose, with defaults, and how it reaches the processes that need it.

`ServerSettings` becomes environment variables and vLLM flags (`server.launcher`). Flags follow the machine: on a CPU
they are chosen for a small, shared one; on a GPU vLLM's own defaults stand.
"""

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model.errors import ConfigurationError
from model.fields import check_choice, check_range
from model.media import MediaLimits

DEMO_MODEL = Path(__file__).resolve().parent.parent / "model" / "demo"
# From the inside out: the last one sees a request first.
MIDDLEWARE = ("server.middleware.errors.OpenAIErrors", "server.middleware.routes.AllowedRoutes")
# Names of our entry points. Naming them keeps other installed plugins out of the server.
PLUGINS = ("quartet", "quartet_http")
# Tokens of one block of vLLM's key-value cache on a CPU.
KV_BLOCK = 128
DTYPES = ("auto", "bfloat16", "float16", "float32")
DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything `quartet serve` can be told; fields are its options."""

    model: str = str(DEMO_MODEL)
    """Directory of a checkpoint (also a packed one), or `org/name` on the Hugging Face hub."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on."""
    name: str | None = None
    """Model id in the API; by default the last part of `model`."""
    device: str = "auto"
    """`cpu` or `gpu`; by default what the installed vLLM is built for."""
    dtype: str = "auto"
    """Of the language model; by default its checkpoint's own. Encoders and projectors always run in float32."""
    max_model_len: int | None = None
    """Longest conversation, tokens; by default what the language model was made for."""
    max_media: int = 32
    """Most media of each modality in one conversation."""
    max_image_pixels: int = MediaLimits.max_pixels
    """Largest picture that is decoded, pixels."""
    max_audio_seconds: float = MediaLimits.max_seconds
    """Longest sound that is decoded, seconds; the encoder's window is checked besides."""
    max_media_bytes: int = MediaLimits.max_bytes
    """Largest file of one medium, bytes."""
    kv_cache_mib: int | None = None
    """Memory for the key-value cache, MiB; by default 256 or one full conversation on a CPU, vLLM's choice on a GPU."""
    threads: int | None = None
    """Threads of the engine on a CPU; by default OMP_NUM_THREADS or every core."""

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            ConfigurationError: naming field, value and what is accepted.
        """
        check_range("port", self.port, 1, 65535)
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, DTYPES)
        check_range("max_media", self.max_media, 0, 4096)
        check_range("max_image_pixels", self.max_image_pixels, 1, 1_000_000_000)
        check_range("max_audio_seconds", self.max_audio_seconds, 0.01, 36_000)
        check_range("max_media_bytes", self.max_media_bytes, 1, 1 << 30)
        for field, low in (("max_model_len", 16), ("kv_cache_mib", 1), ("threads", 1)):
            value = getattr(self, field)
            if value is not None:
                check_range(field, value, low, 1 << 30)
        if not self.model:
            raise ConfigurationError("model: must not be empty")

    @property
    def on_cpu(self) -> bool:
        """Whether the engine runs on the CPU."""
        return self.device == "cpu" or (self.device == "auto" and cpu_engine_installed())

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Environment of the server's processes: `base`, our choices where it has none, and what must hold."""
        wanted = {
            "VLLM_PLUGINS": ",".join(PLUGINS),
            "VLLM_MEDIA_CONNECTOR": "quartet",
            "QUARTET_MAX_IMAGE_PIXELS": str(self.max_image_pixels),
            "QUARTET_MAX_AUDIO_SECONDS": str(self.max_audio_seconds),
            "QUARTET_MAX_MEDIA_BYTES": str(self.max_media_bytes),
        }
        preferred = {
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # One request may ask for this many answers; the engine's own limit is 16384.
            "VLLM_MAX_N_SEQUENCES": "64",
        }
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
            "--served-model-name": self.name or Path(self.model).name,
            "--dtype": self.dtype,
            "--max-model-len": str(length),
            "--limit-mm-per-prompt": "{" + ",".join(f'"{k}":{v}' for k, v in limits.items()) + "}",
            # The template in the directory: the very one training and the reference used.
            "--chat-template-content-format": "openai",
        }
        switches = ["--disable-fastapi-docs"]
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
        middleware = [item for name in MIDDLEWARE for item in ("--middleware", name)]
        return [item for pair in flags.items() for item in pair] + switches + middleware


@lru_cache(maxsize=1)
def media_limits() -> MediaLimits:
    """The decode limits of this process, from the environment the launcher made."""
    default = MediaLimits()
    return MediaLimits(
        max_bytes=int(os.environ.get("QUARTET_MAX_MEDIA_BYTES", default.max_bytes)),
        max_pixels=int(os.environ.get("QUARTET_MAX_IMAGE_PIXELS", default.max_pixels)),
        max_seconds=float(os.environ.get("QUARTET_MAX_AUDIO_SECONDS", default.max_seconds)),
    )


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
