"""The options of a command that takes all settings, made from `ServerSettings`: nothing is written twice."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from server.settings.messages import accepted, is_secret
from server.settings.server import PREFIX, ServerSettings
from server.settings.sources import load

CONFIG_HELP = f"YAML file with settings; {PREFIX}CONFIG when not given."


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Turn `command(loaded, ...)` into a typer command with `--config` and one option for every setting.

    Flags are handed over as they were typed; checking them is the settings' own work, so all sources are checked alike.
    """
    own = list(inspect.signature(command).parameters.values())[1:]

    def run(config: str | None = None, **values: Any) -> None:
        rest = {parameter.name: values.pop(parameter.name) for parameter in own}
        flags = {name: value for name, value in values.items() if value is not None}
        command(load(flags, config), **rest)

    options = [_parameter("config", Annotated[str | None, typer.Option(metavar="FILE", help=CONFIG_HELP)])]
    for section, names in ServerSettings.sections().items():
        for name in names:
            field = ServerSettings.model_fields[name]
            if not is_secret(field):
                options.append(_parameter(name, _annotation(name, field, section.title)))
    parameters = [*options, *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__, run.__doc__ = command.__name__, f"{inspect.getdoc(command)}\n\n{_how_to_set()}"
    return run


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None)


def _annotation(name: str, field: FieldInfo, title: str) -> Any:
    flag = "--" + name.replace("_", "-")
    text = " ".join((field.description or "").split())
    if field.default not in (None, ()) and "by default" not in text:
        text = f"{text} [default: {_spell(field.default)}]"
    if field.annotation is bool:
        switch = typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=title, show_default=False)
        return Annotated[bool | None, switch]
    option = typer.Option(flag, help=text, metavar=accepted(field), rich_help_panel=title, show_default=False)
    return Annotated[str | None, option]


def _spell(default: Any) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _how_to_set() -> str:
    secrets = [PREFIX + name.upper() for name, field in ServerSettings.model_fields.items() if is_secret(field)]
    return (
        f"Every option is also a variable ({PREFIX}MAX_MEDIA) and a key of the --config file (max_media); flags win "
        f"over variables, variables over the file. Secrets are never flags: {', '.join(secrets)}."
    )
