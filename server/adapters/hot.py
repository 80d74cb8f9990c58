"""Loading and unloading adapters while the server runs, through vLLM's own list of models."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

from server.adapter import NAME as OF_THE_CHECKPOINT
from server.adapters.files import Adapter, AdapterError, Layers, inside, take
from server.adapters.layers import linear_layers
from server.errors import refuse
from server.settings import ServerSettings
from server.settings.adapters import is_adapter_name

# Where the engine's message names our copy.
_PATH = re.compile(r"\S*/\S*")


@dataclass(kw_only=True)
class HotAdapters:
    """What may be loaded, and what was.

    Args:
        settings: where from, and how large.
        config: the served model's `QuartetConfig`.
        state: of the application, which has the engine's list of models once there are requests.
        alone: whether this is the only API process; each has a list of its own.
    """

    settings: ServerSettings
    config: Any
    state: Any
    alone: bool = True
    loaded: dict[str, Adapter] = field(default_factory=dict)
    _layers: Layers | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def load(self, name: str, path: str, sha256: str | None, replace: bool) -> Adapter:
        """Serve the adapter in a directory under a name.

        Args:
            name: its model id.
            path: its directory, from the directory of the settings or absolute inside it.
            sha256: what its weights must be, in hexadecimal, if it is to be checked.
            replace: whether one of this name gives way to it; requests that run keep the one they began with.

        Raises:
            RefusedError: 400, naming the field.
        """
        self._check_name(name)
        async with self._lock:
            known = self._models.lora_requests
            if name in known and not (replace and name in self.loaded):
                hint = "unload it first, or set load_inplace" if name in self.loaded else "it is one of the settings"
                raise refuse(400, f"there is an adapter named {name}; {hint}", param="lora_name", code="adapter_exists")
            adapter = await self._take(path, sha256)
            before = known.pop(name, None)
            request = LoadLoRAAdapterRequest(lora_name=name, lora_path=str(adapter.directory))
            try:
                result = await self._models.load_lora_adapter(request)
            finally:
                if before is not None:
                    known.setdefault(name, before)
            if isinstance(result, ErrorResponse):
                reason = _PATH.sub("...", str(result.error.message))
                raise refuse(
                    400, f"the engine refused the adapter: {reason}", param="lora_path", code=AdapterError.code
                )
            self.loaded[name] = adapter
            return adapter

    async def unload(self, name: str) -> None:
        """Serve an adapter no longer; requests that run keep it.

        Raises:
            RefusedError: 404 for one that is not there, 400 for one of the settings.
        """
        async with self._lock:
            known = self._models.lora_requests
            if name not in known:
                raise refuse(404, f"there is no adapter {name[:200]!r}", param="lora_name", code="model_not_found")
            if name not in self.loaded:
                message = f"{name} is one of the settings, and stays"
                raise refuse(400, message, param="lora_name", code="adapter_exists")
            del known[name], self.loaded[name]

    @property
    def _models(self) -> Any:
        return self.state.openai_serving_models

    def _check_name(self, name: str) -> None:
        if not is_adapter_name(name) or name == OF_THE_CHECKPOINT or self._models.is_base_model(name):
            message = "lora_name: 1 to 64 letters, digits and _.:- that no model and no kind of medium is called"
            raise refuse(400, message, param="lora_name", code="invalid_value")

    async def _take(self, path: str, sha256: str | None) -> Adapter:
        try:
            adapter = await asyncio.to_thread(self._taken, path)
        except AdapterError as error:
            raise refuse(400, f"lora_path: {error}", param="lora_path", code=error.code) from None
        if sha256 is not None and sha256.lower().removeprefix("sha256:") != adapter.sha256:
            message = f"sha256: the weights in lora_path have {adapter.sha256}"
            raise refuse(400, message, param="sha256", code="invalid_adapter")
        return adapter

    def _taken(self, path: str) -> Adapter:
        assert self.settings.lora_directory is not None
        base = Path(self.settings.lora_directory).expanduser()
        source = inside(base, path)
        if self._layers is None:
            self._layers = linear_layers(self.config)
        return take(
            source,
            self._layers,
            max_rank=self.settings.max_lora_rank,
            max_bytes=self.settings.max_lora_bytes,
            base=base,
        )


def hot_adapters(settings: ServerSettings, state: Any, config: Any, args: Any) -> HotAdapters | None:
    """What the routes work on, None where they do not exist.

    Args:
        settings: of the server.
        state: of the application; its list of models is there once requests are.
        config: the served model's `QuartetConfig`.
        args: the command line of vLLM's server.
    """
    if not settings.hot_adapters:
        return None
    processes = getattr(args, "api_server_count", None) or 1
    return HotAdapters(settings=settings, config=config, state=state, alone=processes == 1)
