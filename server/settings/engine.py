"""Where the engine runs and what it may use. Everything else about it is a flag of vLLM, given after `--`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from server.settings.sections import Section


class EngineSettings(Section):
    """The engine's device, memory and threads."""

    title: ClassVar[str] = "Engine"

    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where the engine runs; by default what the installed vLLM is built for."""
    kv_cache_mib: Annotated[int, Field(ge=1, le=1 << 30)] | None = None
    """Key-value cache, MiB; by default 256 or one full conversation on a CPU, vLLM's choice on a GPU."""
    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Engine threads on a CPU; by default OMP_NUM_THREADS or every core."""
