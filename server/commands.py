"""The commands `quartet serve` and `quartet chat`: their options, and nothing that is slow to import."""

from typing import Annotated

import typer


def serve(
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint directory or org/name on the hub. [default: the demo model]"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    name: Annotated[str | None, typer.Option(help="Model id in the API. [default: last part of --model]")] = None,
    device: Annotated[str, typer.Option(help="Where the engine runs: auto, cpu or gpu.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Number format of the language model: auto, bfloat16, float16, float32.")
    ] = "auto",
    max_model_len: Annotated[
        int | None, typer.Option(help="Longest conversation, tokens. [default: the language model's]")
    ] = None,
    max_media: Annotated[int, typer.Option(help="Most media of each kind in one conversation.")] = 32,
    max_image_pixels: Annotated[int, typer.Option(help="Largest picture that is decoded, pixels.")] = 25_000_000,
    max_audio_seconds: Annotated[float, typer.Option(help="Longest sound that is decoded, seconds.")] = 600.0,
    max_media_bytes: Annotated[int, typer.Option(help="Largest file of one medium, bytes.")] = 25 * 1024 * 1024,
    kv_cache_mib: Annotated[
        int | None, typer.Option(help="Key-value cache, MiB. [default: 256 on a CPU, vLLM's choice on a GPU]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Engine threads on a CPU. [default: all cores]")] = None,
    engine_flags: Annotated[list[str] | None, typer.Argument(help="After --, further flags of vLLM's server.")] = None,
) -> None:
    """Serve a model over the OpenAI API, until Ctrl-C."""
    from server.launcher import launch
    from server.settings import DEMO_MODEL, ServerSettings

    settings = ServerSettings(
        model=model or str(DEMO_MODEL),
        host=host,
        port=port,
        name=name,
        device=device,
        dtype=dtype,
        max_model_len=max_model_len,
        max_media=max_media,
        max_image_pixels=max_image_pixels,
        max_audio_seconds=max_audio_seconds,
        max_media_bytes=max_media_bytes,
        kv_cache_mib=kv_cache_mib,
        threads=threads,
    )
    launch(settings, engine_flags or ())


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
