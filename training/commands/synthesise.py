"""`quartet data synthesise`: dialogs over several media, or about one, from annotations."""

from pathlib import Path
from typing import Annotated

import typer


def synthesise_data(
    inputs: Annotated[
        list[Path], typer.Argument(help="Files of samples with one medium each, or folders that hold SPLIT.jsonl.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the new source; an unfinished one is continued.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Only relations, merge, conversation, description or reasoning; may be repeated. [default: all]"
        ),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="en, ms or mixed; may be repeated. [default: en and ms]")
    ] = None,
    count: Annotated[int, typer.Option(help="At most this many dialogs of each kind.", min=1)] = 1000,
    max_media: Annotated[int, typer.Option(help="Most media in a dialog over several of them.", min=2, max=10)] = 4,
    annotation: Annotated[
        list[str] | None,
        typer.Option(help="KIND=PATTERN: the tasks whose answers are captions, transcripts or names; may be repeated."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which files to read in folders, and to write.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Language model to ask. [default: none; templates, which work offline]")
    ] = None,
    base_url: Annotated[
        str, typer.Option(envvar="OPENAI_BASE_URL", help="Address of an OpenAI-compatible API.")
    ] = "https://api.openai.com/v1",
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key of that API.", show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Requests at a time.", min=1, max=1024)] = 8,
    timeout: Annotated[float, typer.Option(help="Of one request, seconds.", min=1)] = 120.0,
    retries: Annotated[int, typer.Option(help="Of a request that is not answered; the pauses grow.", min=0)] = 5,
    attempts: Annotated[int, typer.Option(help="Times to ask until an answer passes the filters.", min=1)] = 2,
    temperature: Annotated[float, typer.Option(help="Of sampling.", min=0, max=2)] = 0.7,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, tokens.", min=16)] = 2048,
    structure: Annotated[
        str, typer.Option(help="How the API is told the form of an answer: json_schema, json_object or none.")
    ] = "json_schema",
) -> None:
    """Make dialogs from what samples say about their media.

    Run the same command again to continue one that was interrupted. A run that was not answered at times writes what
    it has and ends with status 1.
    """
    from training.synthesis.endpoint import Endpoint, EndpointError, EndpointSettings
    from training.synthesis.gather import parse_rules
    from training.synthesis.jobs import Request
    from training.synthesis.kinds import KINDS
    from training.synthesis.languages import LANGUAGES
    from training.synthesis.run import synthesise
    from training.synthesis.templates import Templates

    request = Request(
        kinds=tuple(kind or KINDS),
        languages=tuple(language or LANGUAGES),
        count=count,
        max_media=max_media,
        seed=seed,
    )
    generator: Templates | Endpoint = Templates()
    if model is not None:
        generator = Endpoint(
            EndpointSettings(
                model=model,
                base_url=base_url,
                api_key=api_key,
                timeout=timeout,
                retries=retries,
                attempts=attempts,
                temperature=temperature,
                max_tokens=max_tokens,
                structure=structure,
            )
        )
    report = synthesise(
        inputs,
        output,
        generator=generator,
        request=request,
        rules=parse_rules(annotation or ()),
        split=split,
        concurrency=concurrency,
        progress=True,
    )
    typer.echo(str(report))
    if report.unanswered:
        raise EndpointError(
            f"{report.unanswered} dialogs got no answer from the endpoint; run the same command again to ask for them"
        )
