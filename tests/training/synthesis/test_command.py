"""`quartet data synthesise`: options, status and the one line of an error."""

from pathlib import Path

import pytest

from model.cli import main
from tests.training.synthesis.fake_endpoint import FakeEndpoint, error
from training.data import read_samples


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", "synthesise", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_templates(capsys: pytest.CaptureFixture[str], toys: Path, tmp_path: Path) -> None:
    arguments = (toys, "--output", tmp_path / "new", "--count", 4, "--kind", "relations", "--kind", "merge")
    code, out, _ = call(capsys, *arguments, "--language", "ms", "--max-media", 3, "--seed", 5)
    assert code == 0
    assert "relations             4        4        0" in out
    samples = read_samples(tmp_path / "new/train.jsonl")
    assert len(samples) == 8
    assert {sample.meta["language"] for sample in samples} == {"ms"}
    assert {sample.meta["seed"] for sample in samples} == {5}
    assert max(len(sample.media) for sample in samples) <= 3


def test_the_key_comes_from_the_environment(
    capsys: pytest.CaptureFixture[str], toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeEndpoint() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        arguments = ("--count", 2, "--kind", "conversation", "--language", "en", "--model", "fake")
        code, out, err = call(capsys, toys, "--output", tmp_path / "new", *arguments)
        assert server.keys == {"Bearer from-the-environment"}
    assert code == 0
    assert "2 samples (2 en)" in out
    assert "from-the-environment" not in out + err


def test_no_answer_is_status_one(capsys: pytest.CaptureFixture[str], toys: Path, tmp_path: Path) -> None:
    arguments = ("--count", 2, "--kind", "conversation", "--language", "en", "--model", "fake", "--retries", 0)
    with FakeEndpoint(lambda number, body: error(503, "no") if number == 0 else None) as server:
        given = (toys, "--output", tmp_path / "new", *arguments, "--base-url", server.url, "--api-key", "k")
        code, out, err = call(capsys, *given)
        assert code == 1
        assert "no-answer: the endpoint gave none" in out
        assert "1 dialogs got no answer from the endpoint; run the same command again" in err
        code, out, _ = call(capsys, *given)
        assert code == 0
        assert "1 dialogs were there from an earlier run" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "poem"), "kind: 'poem' is not one of"),
        (("--language", "fr"), "language: 'fr' is not one of"),
        (("--annotation", "caption"), "expected KIND=PATTERN"),
        (("--split", "other"), "other.jsonl: cannot be read"),
        (("--model", "m", "--base-url", "nowhere"), "base_url: 'nowhere' is no address"),
        (("--model", "m", "--structure", "yaml"), "structure: 'yaml' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str], toys: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = call(capsys, toys, "--output", tmp_path / "new", *arguments)
    assert code == 1
    assert err.splitlines()[-1].startswith("quartet: ")
    assert message in err
