"""`make demo`'s pieces, against the test server and against a model that is refused."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.chat import part
from server.demo import EXAMPLES, TURNS, ask, main
from server.settings import ServerSettings
from tests.support.reference import Reference, user
from tests.support.serving import ServerProcess, free_port


def test_both_turns_reach_the_server_with_their_media(
    server: ServerProcess, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ask(ServerSettings(port=server.port), Console(width=200))
    messages: list[dict[str, Any]] = []
    for answer, (name, question) in zip(given, TURNS, strict=True):
        messages.append(user(part(EXAMPLES / name), question))
        ids = reference.answer(messages, max_tokens=48).token_ids
        expected = reference.prompt.tokenizer.decode(ids, skip_special_tokens=True)
        # A character cut in half at the end is shown in one way or the other.
        assert answer.rstrip("\ufffd") == expected.rstrip("\ufffd")
        messages.append({"role": "assistant", "content": answer})
    printed = capsys.readouterr().out
    assert "What is in the picture? (about cat.png)" in printed
    assert "Which number do you hear? (about seven.wav)" in printed


def test_refused_model_shows_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path / "nowhere"), "--port", str(free_port()), "--once"]) == 1
    assert "nowhere is not a directory" in " ".join(capsys.readouterr().out.split())


def test_busy_port_is_said(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(server.port), "--once"]) == 1
    assert "in use" in capsys.readouterr().out
