import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from model import __version__, cli
from model.errors import QuartetError


def offer(monkeypatch: pytest.MonkeyPatch, **commands: str) -> None:
    points = {name: EntryPoint(name, value, cli.GROUP) for name, value in commands.items()}
    monkeypatch.setattr(cli, "offered_commands", lambda: points)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


def greet(name: str, loud: bool = False) -> None:
    """Says hello."""
    print(f"hello {name}" + "!" * loud)


def fail() -> None:
    """Fails."""
    raise QuartetError("weights.bin has\n  the wrong size")


HERE = __name__


def test_a_function_becomes_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    offer(monkeypatch, greet=f"{HERE}:greet", broken="server.no_such_module:f")
    assert run("greet", "world", "--loud") == 0
    assert capsys.readouterr().out == "hello world!\n"


def test_an_expected_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    offer(monkeypatch, fail=f"{HERE}:fail")
    assert run("fail") == 1
    assert capsys.readouterr().err == "quartet: weights.bin has the wrong size\n"


def test_help_lists_a_command_that_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, greet=f"{HERE}:greet", train="training.no_such_module:train")
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "Says hello" in shown
    assert 'pip install "quartet[train]"' in shown
    assert run("train", "demo", "--steps", "3") == 1
    assert "no_such_module" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_only_the_called_command_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, a="x:y", b="x:z")
    commands = cli.offered_commands()
    assert list(cli.wanted(["a", "b"], commands)) == ["a"]
    assert list(cli.wanted(["--help"], commands)) == ["a", "b"]
    assert list(cli.wanted(["no"], commands)) == ["a", "b"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"quartet {__version__}\n"


def test_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-such-command") == 2


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from model import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'vllm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True)
    assert "Not available" not in done.stdout
    assert done.stdout.endswith("[]\n")
