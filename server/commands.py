"""The commands `quartet serve`, `quartet config` and `quartet chat`: their options, and nothing slow to import."""

from typing import Annotated

import typer

from server.settings.options import takes_settings
from server.settings.sources import Loaded

EngineFlags = Annotated[list[str] | None, typer.Argument(help="After --, further flags of vLLM's server.")]


@takes_settings
def serve(loaded: Loaded, engine_flags: EngineFlags = None) -> None:
    """Serve a model over the OpenAI API, until Ctrl-C."""
    from server.launcher import launch

    launch(loaded.settings, engine_flags or ())


@takes_settings
def config(loaded: Loaded) -> None:
    """Print the settings in effect as YAML, with where each was said."""
    from server.settings.show import show

    print(show(loaded), end="")


def chat(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str | None, typer.Option(help="Model id. [default: the first the server has]")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 always gives the same answer.")] = 0.0,
    key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="API key, if the server asks for one.")] = "none",
) -> None:
    """Chat in the terminal; @path attaches a picture or a sound.

    Write it anywhere in a line, as often as you like: What is in @cat.png and what do you hear in @call.wav?
    """
    from server.chat import Chat, run

    run(Chat(url=url, key=key, model=model, system=system, max_tokens=max_tokens, temperature=temperature))
