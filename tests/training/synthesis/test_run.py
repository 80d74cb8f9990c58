"""Whole runs: what they write, that they can be killed anywhere, and that every dialog that is dropped is counted."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import DataError
from tests.training.synthesis.fake_endpoint import Behaviour, FakeEndpoint, completion, error, notes, written
from training.data import read_samples
from training.synthesis.endpoint import Endpoint, EndpointError, EndpointSettings
from training.synthesis.gather import gather
from training.synthesis.jobs import Request
from training.synthesis.report import Report
from training.synthesis.run import synthesise
from training.synthesis.templates import Templates
from training.synthesis.templates.phrases import VERSION

REQUEST = Request(languages=("en", "ms", "mixed"), count=6)
SPEECH = Request(kinds=("relations", "conversation"), languages=("en",), count=12)


def offline(toys: Path, output: Path, request: Request = REQUEST) -> Report:
    return synthesise([toys], output, generator=Templates(), request=request)


def online(toys: Path, output: Path, server: FakeEndpoint, request: Request = SPEECH, **values: Any) -> Report:
    concurrency = values.pop("concurrency", 4)
    given = EndpointSettings(**{"model": "fake", "base_url": server.url, "retries": 0, **values})
    return synthesise([toys], output, generator=Endpoint(given), request=request, concurrency=concurrency)


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "train.jsonl").read_text().splitlines()]


def balanced(report: Report) -> None:
    """Nothing is lost: every dialog that was planned is kept or dropped for a reason."""
    for counts in report.kinds.values():
        assert counts.planned == counts.kept + sum(counts.dropped.values())


def test_the_trainer_reads_it_as_it_is(toys: Path, tmp_path: Path) -> None:
    output = tmp_path / "corpus/new"
    report = offline(toys, output)
    samples = read_samples(output / "train.jsonl")
    assert len(samples) == report.kept >= 20
    assert list(output.glob("*.jsonl")) == [output / "train.jsonl"], "nothing else in the folder looks like samples"
    known = {medium.reference.path for medium in gather([toys / "train.jsonl"]).media}
    for sample, line in zip(samples, lines(output), strict=True):
        assert {ref.path for ref in sample.media} <= known
        urls = [part[part["type"]]["url"] for m in line["messages"] if m["role"] == "user" for part in m["content"]
                if part["type"] != "text"]  # fmt: skip
        assert all(not Path(url).is_absolute() for url in urls)
        assert [(output / url).resolve() for url in urls] == [ref.path for ref in sample.media]
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"] * (len(line["messages"]) // 2)


def test_every_sample_says_where_it_comes_from(toys: Path, tmp_path: Path) -> None:
    report = offline(toys, tmp_path / "new")
    origins = {sample.id for sample in read_samples(toys / "train.jsonl")}
    for line in lines(tmp_path / "new"):
        meta = line["meta"]
        assert meta["generator"] == "templates"
        assert meta["instruction"] == f"templates:{VERSION}"
        assert len(meta["templates"]) == len(line["messages"]) // 2
        assert meta["samples"]
        assert set(meta["samples"]) <= origins
        assert meta["source"] == "synthesis"
        assert meta["task"] == f"synthesis/{line['id'].split('/')[1]}"
        assert "model" not in meta
    assert Counter(line["meta"]["language"] for line in lines(tmp_path / "new")) == report.languages
    assert {line["meta"].get("licence") for line in lines(tmp_path / "new")} >= {"CC0-1.0", "CC0-1.0 AND MIT"}


def test_the_report(toys: Path, tmp_path: Path) -> None:
    report = offline(toys, tmp_path / "new")
    balanced(report)
    written_report = json.loads((tmp_path / "new/synthesis.json").read_text())
    assert written_report == report.to_json()
    assert written_report["samples"] == report.kept == len(lines(tmp_path / "new"))
    assert set(written_report["kinds"]) == {"relations", "merge", "conversation", "description", "reasoning"}
    table = str(report)
    for kind, counts in report.kinds.items():
        assert f"{kind:14} {counts.planned:8d} {counts.kept:8d}" in table
    assert "reasoning for lack of media with what it needs" in table
    assert str(tmp_path) not in (tmp_path / "new/synthesis.json").read_text()


def test_the_seed_decides_the_bytes(toys: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        offline(toys, tmp_path / name)
    first = (tmp_path / "a/train.jsonl").read_bytes()
    assert first == (tmp_path / "b/train.jsonl").read_bytes()
    again = offline(toys, tmp_path / "a")
    assert again.reused == sum(counts.planned for counts in again.kinds.values())
    assert first == (tmp_path / "a/train.jsonl").read_bytes()
    offline(toys, tmp_path / "b", Request(languages=("en", "ms", "mixed"), count=6, seed=1))
    assert first != (tmp_path / "b/train.jsonl").read_bytes()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_any_beginning_of_a_journal_ends_the_same(toys: Path, tmp_path: Path, share: float) -> None:
    """Wherever a run is killed, it leaves a beginning of its journal; another run makes the same file of it."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if not (whole / "train.jsonl").is_file():
        offline(toys, whole)
    journal = (whole / "synthesis.journal").read_bytes()
    cut.mkdir(exist_ok=True)
    (cut / "synthesis.journal").write_bytes(journal[: int(share * len(journal))])
    offline(toys, cut)
    assert (cut / "train.jsonl").read_bytes() == (whole / "train.jsonl").read_bytes()
    assert sorted((cut / "synthesis.journal").read_bytes().splitlines()) == sorted(journal.splitlines())


def test_kill_minus_nine(toys: Path, tmp_path: Path) -> None:
    """A process that asks a slow endpoint is killed twice; the third run ends with the set of an undisturbed one."""
    with FakeEndpoint() as server:
        online(toys, tmp_path / "whole", server)
        asked = len(server.requests)
    with FakeEndpoint(delay=0.05) as server:
        journal = tmp_path / "killed/synthesis.journal"
        for enough in (3, 8):
            fork = multiprocessing.get_context("fork")
            child = fork.Process(target=online, args=(toys, tmp_path / "killed", server))
            child.start()
            deadline = time.monotonic() + 60
            while not journal.is_file() or journal.read_bytes().count(b"\n") < enough:
                assert time.monotonic() < deadline
                assert child.is_alive(), "the run ended before it could be killed"
                time.sleep(0.005)
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            assert not (tmp_path / "killed/train.jsonl").exists(), "no half-made source is ever seen"
        with journal.open("ab") as file:
            file.write(b'{"job": "torn')
        report = online(toys, tmp_path / "killed", server)
        assert report.reused >= 8
        assert len(server.requests) <= asked + 2 * 4, "only what was under way is asked again"
    assert (tmp_path / "killed/train.jsonl").read_bytes() == (tmp_path / "whole/train.jsonl").read_bytes()
    assert report.unanswered == 0


def test_a_language_model_writes(toys: Path, tmp_path: Path) -> None:
    with FakeEndpoint(delay=0.01) as server:
        report = online(toys, tmp_path / "new", server, concurrency=3, api_key="secret-key")
    assert server.most_at_once <= 3
    assert len(server.requests) == sum(counts.planned for counts in report.kinds.values()) == 24
    balanced(report)
    assert report.kept >= 20, report.to_json()
    for line in lines(tmp_path / "new"):
        assert line["meta"]["generator"] == "llm"
        assert line["meta"]["model"] == "fake"
        assert line["meta"]["instruction"].startswith("fake:")
    assert all("secret-key" not in path.read_text() for path in (tmp_path / "new").iterdir())


def spoiled(body: dict[str, Any], text: str) -> Any:
    made = written(body)
    made["turns"][0]["answer"] += " " + text
    return completion(json.dumps(made))


def test_what_is_dropped_is_counted(toys: Path, tmp_path: Path) -> None:
    """One fault after the other: each dialog is dropped for its own reason, and the sums hold."""
    faults = [
        ("mentions-annotation", lambda body: spoiled(body, "So says the caption.")),
        ("leaks-instruction", lambda body: spoiled(body, "My instructions say so.")),
        ("refusal", lambda body: spoiled(body, "I'm sorry, I cannot see more.")),
        ("medium-absent", lambda body: spoiled(body, "The ninth picture shows more.")),
        ("wrong-language", lambda body: spoiled(body, "Tetapi itu adalah semua yang dapat saya lihat di dalamnya, "
                                                      "kerana ia tidak begitu jelas untuk saya dan anda.")),
        ("too-long", lambda body: spoiled(body, "very " * 400)),
        ("medium-missing", lambda body: completion(json.dumps({"turns": written(body)["turns"][1:]}))),
        ("malformed", lambda body: completion("Sure! " + json.dumps(written(body)))),
        ("cut-off", lambda body: completion('{"turns": [', "length")),
    ]  # fmt: skip
    place: dict[str, int] = {}

    def behaviour(number: int, body: dict[str, Any]) -> Any:
        place.setdefault(json.dumps(body["messages"]), len(place))
        return faults[place[json.dumps(body["messages"])] % len(faults)][1](body)

    with FakeEndpoint(behaviour) as server:
        request = Request(kinds=("relations",), languages=("en",), count=18)
        report = online(toys, tmp_path / "new", server, request, attempts=1, concurrency=1)
    balanced(report)
    assert report.kinds["relations"].dropped == {name: 2 for name, _ in faults}
    assert report.kept == 0
    for name, _ in faults:
        assert f"       2  {name}: " in str(report)
    assert json.loads((tmp_path / "new/synthesis.json").read_text())["kinds"]["relations"]["dropped"]["refusal"] == 2


def test_a_second_attempt_may_pass(toys: Path, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    seeds = set()

    def behaviour(number: int, body: dict[str, Any]) -> Any:
        key = json.dumps(body["messages"])
        seen[key] += 1
        seeds.add(body["seed"])
        return completion("no") if seen[key] == 1 else None

    with FakeEndpoint(behaviour) as server:
        report = online(toys, tmp_path / "new", server, attempts=2)
    balanced(report)
    assert report.kept >= 20
    assert sum((counts.asked_again for counts in report.kinds.values()), Counter())["malformed"] == 24
    assert len(seeds) == 48, "another attempt is another draw"
    assert "asked again because" in str(report)


def test_the_same_words_about_the_same_medium_are_kept_once(toys: Path, tmp_path: Path) -> None:
    def behaviour(number: int, body: dict[str, Any]) -> Any:
        (medium,) = notes(body)
        turns = [{"media": [medium["name"]], "question": "Hm?", "answer": "Thing."},
                 {"media": [], "question": "Ok?", "answer": ""}]  # fmt: skip
        words = [*medium.get("captions", []), *medium.get("names", []), *medium.get("spoken", [])]
        turns[1]["answer"] = " ".join(words) + "!" * (number % 3)
        return completion(json.dumps({"turns": turns}))

    with FakeEndpoint(behaviour) as server:
        request = Request(kinds=("conversation",), languages=("en", "ms"), count=100)
        report = online(toys, tmp_path / "new", server, request)
    balanced(report)
    counts = report.kinds["conversation"]
    assert counts.planned == 2 * 13
    assert counts.kept == 13
    # What is known of one is in English sentences, which a Malay dialog must not repeat.
    assert counts.dropped == {"duplicate": 12, "wrong-language": 1}


def test_an_endpoint_that_is_down_is_left_alone_and_asked_again(toys: Path, tmp_path: Path) -> None:
    with FakeEndpoint(lambda number, body: error(503, "overloaded")) as server:
        report = online(toys, tmp_path / "new", server, concurrency=2)
        assert len(server.requests) < 12, "it gives up long before it asked for all"
    assert report.unanswered == 24
    balanced(report)
    assert lines(tmp_path / "new") == []
    failing: Behaviour = lambda number, body: error(503, "overloaded") if number % 3 == 0 else None  # noqa: E731
    with FakeEndpoint(failing) as server:
        partly = online(toys, tmp_path / "new", server)
    assert 0 < partly.unanswered < 24
    with FakeEndpoint() as server:
        rest = online(toys, tmp_path / "new", server)
        assert len(server.requests) == partly.unanswered
        online(toys, tmp_path / "whole", server)
    assert rest.unanswered == 0
    assert (tmp_path / "new/train.jsonl").read_bytes() == (tmp_path / "whole/train.jsonl").read_bytes()


def test_a_refused_key_ends_the_run_and_keeps_what_there_is(toys: Path, tmp_path: Path) -> None:
    with FakeEndpoint(lambda number, body: error(401, "key expired") if number >= 5 else None) as server:
        with pytest.raises(EndpointError, match="HTTP 401: key expired"):
            online(toys, tmp_path / "new", server, concurrency=1)
        assert len(server.requests) == 6
    assert len((tmp_path / "new/synthesis.journal").read_text().splitlines()) == 5
    assert not (tmp_path / "new/train.jsonl").exists()


def test_what_cannot_be_is_named(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an input; give another --output"):
        offline(toys, toys)
    with pytest.raises(DataError, match="cannot be read"):
        offline(tmp_path / "none.jsonl", tmp_path / "new")
    with pytest.raises(ValueError, match="concurrency: 0"):
        synthesise([toys], tmp_path / "new", generator=Templates(), request=REQUEST, concurrency=0)


def test_splits_stay_apart(toys: Path, tmp_path: Path) -> None:
    offline(toys, tmp_path / "new")
    with pytest.raises(DataError, match=r"test\.jsonl: cannot be read"):
        synthesise([toys], tmp_path / "new", generator=Templates(), request=REQUEST, split="test")
    report = synthesise([toys / "train.jsonl"], tmp_path / "new", generator=Templates(), request=REQUEST, split="test")
    assert (tmp_path / "new/test.jsonl").is_file()
    assert report.output.name == "test.jsonl"
