"""The command `quartet bench`: its options, and nothing slow to import."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Send = Annotated[
    Literal["base64", "file"],
    typer.Option(help="How it is sent media: base64, or file (uploaded once, then named by id)."),
]


def bench(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:8000/v1",
    against: Annotated[str | None, typer.Option(help="Another server, asked the same by turns.")] = None,
    key: Annotated[str | None, typer.Option(envvar="OPENAI_API_KEY", help="API key.", show_default=False)] = None,
    against_key: Annotated[str | None, typer.Option(help="API key of the other server.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id. [default: the first the server has]")] = None,
    against_model: Annotated[str | None, typer.Option(help="Model id at the other server.")] = None,
    send: Send = "base64",
    against_send: Send = "base64",
    concurrency: Annotated[str, typer.Option(help="Requests at a time; several loads as 1,4,16.")] = "1,16",
    rate: Annotated[str | None, typer.Option(help="Instead: requests a second, arriving at random; 1,2,4.")] = None,
    requests: Annotated[int, typer.Option(help="Requests to each server at each load.")] = 100,
    block: Annotated[
        int | None, typer.Option(help="Requests before it is the other server's turn. [default: by the load]")
    ] = None,
    warm_up: Annotated[int, typer.Option(help="Requests before those that are measured.")] = 4,
    text_words: Annotated[int, typer.Option(help="Words of text in a request.")] = 32,
    output_tokens: Annotated[int, typer.Option(help="Tokens of every answer.")] = 32,
    images: Annotated[int, typer.Option(help="Pictures in a request.")] = 0,
    sounds: Annotated[int, typer.Option(help="Sounds in a request.")] = 0,
    repeat_share: Annotated[float, typer.Option(help="Share of media that were sent before, 0..1.")] = 0.0,
    image_size: Annotated[str, typer.Option(help="Pixels of a generated picture.")] = "640x480",
    sound_seconds: Annotated[float, typer.Option(help="Length of a generated sound.")] = 2.0,
    media: Annotated[Path | None, typer.Option(help="Folder of pictures and sounds to send instead.")] = None,
    seed: Annotated[int, typer.Option(help="Of texts, media, repeats and arrivals.")] = 0,
    timeout: Annotated[float, typer.Option(help="Longest wait for an answer, seconds.")] = 300.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures, or - for the output.")] = None,
) -> None:
    """Measure a server under load, or compare two by turns.

    Every request is a streamed chat completion with random text and new media; every answer has the same length. The
    exit status is 1 if a server answered no request.
    """
    import asyncio
    import json
    import sys

    from rich.console import Console

    from server.bench.plan import Level, Plan, Target
    from server.bench.report import as_json, show
    from server.bench.run import measure

    levels = (
        [Level(rate=number) for number in _numbers("rate", rate)]
        if rate is not None
        else [Level(concurrency=int(number)) for number in _numbers("concurrency", concurrency)]
    )
    plan = Plan(
        levels=tuple(levels),
        requests=requests,
        block=block,
        warm_up=warm_up,
        text_words=text_words,
        output_tokens=output_tokens,
        images=images,
        sounds=sounds,
        repeat_share=repeat_share,
        image_size=_size(image_size),
        sound_seconds=sound_seconds,
        folder=media,
        seed=seed,
        timeout=timeout,
    )
    targets = [Target(name="server", url=url, key=key, model=model, send=send)]
    if against is not None:
        other = Target(name="against", url=against, key=against_key, model=against_model, send=against_send)
        targets.append(other)
    console = Console(stderr=json_file is not None and str(json_file) == "-", highlight=False)
    with console.status("") as status:
        results = asyncio.run(
            measure(plan, targets, lambda label, done, of: status.update(f"{label}: {done} of {of} requests"))
        )
    report = as_json(plan, targets, results)
    show(console, report)
    if json_file is not None:
        text = json.dumps(report, indent=2) + "\n"
        if str(json_file) == "-":
            sys.stdout.write(text)
        else:
            json_file.write_text(text, encoding="utf-8")
    figures = [one for level in report["levels"] for one in level["servers"].values()]
    if any(one["failed"] == one["requests"] for one in figures):
        raise typer.Exit(1)


def _numbers(name: str, text: str) -> list[float]:
    from model.errors import ConfigurationError

    try:
        numbers = [float(piece) for piece in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"{name}: {text!r} is no number, nor several separated by commas") from None
    if name == "concurrency" and any(number != int(number) for number in numbers):
        raise ConfigurationError(f"{name}: {text!r} is not whole")
    return numbers


def _size(text: str) -> tuple[int, int]:
    from model.errors import ConfigurationError

    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ConfigurationError(f"image_size: {text!r} is not like 640x480")
    return int(width), int(height)
