"""The `quartet` command: collects the commands that the installed packages offer and runs one of them.

A package offers a command through an entry point of the group `quartet.commands`, whose value is a function with typer
annotations or a `typer.Typer`. Only the command that is called is imported, so that `quartet chat` does not wait for
what training needs; `quartet --help` imports all of them, and one whose libraries are missing is still listed, with
what to install. Every `QuartetError` ends the command with its message on one line of stderr and exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import typer
from typer.core import TyperCommand

from model.errors import QuartetError

GROUP = "quartet.commands"
EXTRAS = {"server": "cpu", "training": "train"}  # package: the extra of `pip install "quartet[...]"` it needs


class PlainCommand(TyperCommand):
    """A command whose options with a `rich_help_panel` stand under that heading in its plain help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then every group of options in the order of its first one."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = "Arguments" if param.param_type_name == "argument" else "Options"
            if (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "rich_help_panel", None) or heading, []).append(record)
        for heading in sorted(groups, key=lambda heading: heading != "Arguments"):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


class MissingCommandError(QuartetError):
    """A command that is offered but cannot be imported."""

    code = "missing_dependency"


def offered_commands() -> dict[str, EntryPoint]:
    """Returns the entry points of all installed packages that offer a command, by command name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def build_app(commands: dict[str, EntryPoint]) -> typer.Typer:
    """Makes the command line from entry points; imports every one of them.

    A command that cannot be imported becomes one that says what to install.
    """
    # Plain help: brackets in `quartet[cpu]` are no markup.
    app = typer.Typer(name="quartet", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        show_version: bool = typer.Option(False, "--version", help="Show the version and exit."),
    ) -> None:
        """Eyes and ears for any open language model: train, pack, serve and chat."""
        if show_version:
            typer.echo(f"quartet {version('quartet')}")
        elif context.invoked_subcommand is None:
            typer.echo(context.get_help())

    for name, point in commands.items():
        try:
            offered = point.load()
        except (ImportError, AttributeError) as error:
            _add_missing(app, name, point, error)
            continue
        if isinstance(offered, typer.Typer):
            app.add_typer(offered, name=name)
        else:
            app.command(name, cls=PlainCommand)(offered)
    return app


def _add_missing(app: typer.Typer, name: str, point: EntryPoint, error: Exception) -> None:
    extra = EXTRAS.get(point.module.partition(".")[0])
    what = f'pip install "quartet[{extra}]"' if extra else "pip install --force-reinstall quartet"
    message = f"{name} is not available: {error}. Install what it needs: {what}"

    def missing(_: typer.Context) -> None:
        raise MissingCommandError(message)

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, help=f"Not available; needs: {what}", context_settings=settings)(missing)


def wanted(arguments: Sequence[str], commands: dict[str, EntryPoint]) -> dict[str, EntryPoint]:
    """Returns the command that `arguments` call, or all of them when they call none that exists."""
    name = next((word for word in arguments if not word.startswith("-")), None)
    return {name: commands[name]} if name in commands and name is not None else commands


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits; `arguments` default to the process's own.

    Raises:
        SystemExit: always; 0 done, 1 a QuartetError, 2 wrong usage.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    run: Callable[..., Any] = build_app(wanted(given, offered_commands()))
    try:
        run(given, prog_name="quartet")
    except QuartetError as error:
        print(f"quartet: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
