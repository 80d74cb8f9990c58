"""`make demo`'s pieces, against the test server and against a model that is refused."""

from pathlib import Path

import pytest
from rich.console import Console

from server.demo import EXAMPLES, ask, main
from server.settings import ServerSettings
from tests.support.reference import Reference, user
from tests.support.serving import ServerProcess, free_port


def test_question_reaches_the_server_with_both_media(
    server: ServerProcess, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    from server.chat import part

    given = ask(ServerSettings(port=server.port), Console(width=200))
    picture, sound = part(EXAMPLES / "cat.png"), part(EXAMPLES / "seven.wav")
    messages = [user("What is in the picture? ", picture, " Which number do you hear? ", sound)]
    expected = reference.prompt.tokenizer.decode(
        reference.answer(messages, max_tokens=48).token_ids, skip_special_tokens=True
    )
    # A character cut in half at the end is shown in one way or the other.
    assert given.rstrip("\ufffd") == expected.rstrip("\ufffd")
    printed = capsys.readouterr().out
    assert "Question" in printed
    assert "cat.png and seven.wav" in printed


def test_refused_model_shows_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "nowhere"), "--port", str(free_port()), "--once"]) == 1
    assert "nowhere is not a directory" in " ".join(capsys.readouterr().out.split())


def test_busy_port_is_said(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(server.port), "--once"]) == 1
    assert "in use" in capsys.readouterr().out
