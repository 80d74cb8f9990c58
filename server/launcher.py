"""From `quartet serve` to a running server: check the checkpoint, then become vLLM's own API server.

Two steps, because some of what the engine reads from the environment must be there before the process starts:

1. `launch` (light: no torch) makes the environment and replaces the process by step 2.
2. `main` (`python -m server.launcher`) opens and assembles the checkpoint, refuses one whose parts do not fit with a
   single line and exit status 1, and calls vLLM's own server with its flags. Beside a GPU the engine's processes import
   this module again, so nothing heavy may be imported at its top; on a CPU they are copies (`server.life.forkserver`).
"""

import atexit
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

from model.errors import ConfigurationError, QuartetError
from model.location import find
from server.files.setup import open_library
from server.keys.source import KeySource
from server.life.end import exit_status
from server.life.forkserver import start_fork_server
from server.logs.config import logging_config
from server.scratch import new_scratch, remove_scratch
from server.settings import ServerSettings, current

if TYPE_CHECKING:
    from model.configuration import QuartetConfig

REFUSED = 1


def launch(settings: ServerSettings, extra: Sequence[str] = ()) -> NoReturn:
    """Replace this process by the server; `extra` are further flags of vLLM, which win over ours."""
    environment = settings.environment(os.environ)
    os.execve(sys.executable, command(extra), environment | new_scratch(environment, logging_config(settings)))


def command(extra: Sequence[str] = ()) -> list[str]:
    """The command of step 2. Settings are in its environment: the list of processes is no place for secrets."""
    return [sys.executable, "-m", "server.launcher", *extra]


def main(arguments: Sequence[str]) -> None:
    """Check, assemble, serve."""
    atexit.register(remove_scratch)
    try:
        refuse_flags(arguments)
        # Before the model is loaded: a server that nobody may call, or everybody, is not what was meant.
        KeySource(current().keys_path, current().secret_key)
        if current().files:
            open_library(current())
        # In a thread, which takes OpenMP's threads with it when it ends: they do not survive a fork.
        with ThreadPoolExecutor(1) as thread:
            flags = thread.submit(prepare, current()).result()
    except QuartetError as error:
        print(f"quartet serve: {error}", file=sys.stderr)
        raise SystemExit(REFUSED) from None
    if current().on_cpu:
        start_fork_server()
    go_offline()
    sys.argv = ["quartet serve", *flags, *arguments]
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    serve()
    raise SystemExit(exit_status())


def refuse_flags(arguments: Sequence[str]) -> None:
    """Refuse flags that belong to `vllm serve`'s ways to start several processes, which this server would ignore.

    Raises:
        ConfigurationError: names the flag, and what to do instead.
    """
    instead = {
        "--headless": "on machines that only compute, run `vllm serve --headless` with VLLM_PLUGINS=quartet",
        "--api-server-count": "one process answers; for more, start more servers",
    }
    for argument in arguments:
        if said := instead.get(argument.partition("=")[0].replace("_", "-")):
            raise ConfigurationError(f"{argument}: {said}")


def prepare(settings: ServerSettings) -> list[str]:
    """Assemble the model's directory and choose vLLM's flags.

    Raises:
        QuartetError: the model is missing, its parts cannot be fetched or do not fit each other.
    """
    found = find(settings.model)
    from model.assembly import assemble
    from model.configuration import QuartetConfig
    from server.adapters.flags import lora_flags

    directory = assemble(found)
    config = QuartetConfig.from_pretrained(directory)
    tokens = {name: spec.tokens for name, spec in config.modality_specs.items()}
    context = int(getattr(config.get_text_config(), "max_position_embeddings", 4096))
    flags = settings.flags(tokens, context, token_bytes(config, settings.dtype))
    return ["--model", str(directory), *flags, *lora_flags(settings, directory, config)]


def token_bytes(config: "QuartetConfig", dtype: str) -> int:
    """Bytes of one token's keys and values over all layers of the language model."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    chosen = str(getattr(text, "dtype", None)) if dtype == "auto" else dtype
    return int(text.num_hidden_layers * 2 * heads * width * (4 if chosen.endswith("float32") else 2))


def go_offline() -> None:
    """From here on nothing is looked up on the hub: what is served is on this disk, hash-checked."""
    from huggingface_hub import constants

    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    # The library read its environment when the checkpoint was opened.
    constants.HF_HUB_OFFLINE = True


if __name__ == "__main__":
    main(sys.argv[1:])
