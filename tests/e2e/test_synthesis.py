"""Synthesis asks the project's own server. Its model is random, so every answer is filtered; the wire is real."""

from pathlib import Path

import pytest

from tests.support.serving import ServerProcess
from tests.training.synthesis.parts import sample, write
from training.synthesis import instructions
from training.synthesis.endpoint import Endpoint, EndpointError, EndpointSettings
from training.synthesis.filters import REASONS
from training.synthesis.jobs import Request
from training.synthesis.run import synthesise

REQUEST = Request(kinds=("conversation",), languages=("en",), count=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samples = [sample(str(index), f"{index}.png", "", f"dog {index}", task="x/caption") for index in range(3)]
    return write(tmp_path / "source", samples)


def test_every_answer_is_understood_or_dropped(
    server: ServerProcess, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny tokenizer makes a token of nearly every letter: the real instruction would not fit its context.
    monkeypatch.setattr(instructions, "instruction", lambda kind: "Write JSON.")
    settings = EndpointSettings(model=server.model, base_url=f"{server.url}/v1", max_tokens=48, attempts=1)
    report = synthesise([source], tmp_path / "new", generator=Endpoint(settings), request=REQUEST, concurrency=3)
    counts = report.kinds["conversation"]
    assert counts.planned == 3 == counts.kept + sum(counts.dropped.values())
    assert report.unanswered == 0
    assert set(counts.dropped) <= set(REASONS)


def test_a_refusal_of_the_server_is_shown(server: ServerProcess, source: Path, tmp_path: Path) -> None:
    settings = EndpointSettings(model="another", base_url=f"{server.url}/v1")
    with pytest.raises(EndpointError, match=r"HTTP 404: .*another.*check --base-url"):
        synthesise([source], tmp_path / "new", generator=Endpoint(settings), request=REQUEST)
