"""A whole evaluation: what is read, asked and written, of a checkpoint and of a backend by script."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.errors import DataError
from tests.training.evaluation.corpora import read_json_lines, write_test_corpus
from tests.training.parts import write_json_lines
from training import data
from training.data import Sample
from training.evaluation import Evaluation, evaluate_checkpoint, run
from training.evaluation.compare import compare
from training.evaluation.questions import Reply, questions


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def evaluated(
    tiny_checkpoint: Path, corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `out`, the results on five samples of each task, and `deep/records.jsonl`."""
    folder = tmp_path_factory.mktemp("evaluated")
    records = folder / "deep" / "records.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        evaluate_checkpoint(
            tiny_checkpoint, Evaluation(corpus=corpus, output=folder / "out", limit=5, max_tokens=4, records=records)
        )
    return folder


def test_everything_is_written(evaluated: Path) -> None:
    scores = json.loads((evaluated / "out/scores.json").read_text())
    assert [score["task"] for score in scores] == ["dialogs/turns", "plain/say", "scenes/colour", "tones/pitch"]
    by_task = {score["task"]: score for score in scores}
    assert [by_task[task]["samples"] for task in by_task] == [4, 2, 5, 5]
    # Three plain colours and two pitches are linearly separable in any features.
    assert by_task["scenes/colour"]["ceiling"] == by_task["tones/pitch"]["ceiling"] == 1.0
    assert by_task["dialogs/turns"]["ceiling"] is None
    assert by_task["plain/say"]["none"] is None, "no medium, nothing to take away"
    assert {"right", "none", "shuffled", "chance", "ratio", "interval"} <= set(scores[0])

    metrics = json.loads((evaluated / "out/metrics.json").read_text())
    rows = {(row["scope"], row["name"]): row for row in metrics["rows"]}
    assert {name for scope, name in rows if scope == "language"} == {"en", "ms"}
    assert {name for scope, name in rows if scope == "group"} == {"dialogs", "plain", "scenes", "tones"}
    assert rows["all", "all"]["samples"] == 16
    right = rows["task", "scenes/colour"]["variants"]["right"]
    assert set(right) == {"exact", "normalised", "meteor", "perplexity"}
    for estimate in right.values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert metrics["integral"]["coverage"] == pytest.approx(1.0)
    assert metrics["METEOR aligns words by"].startswith("exact, stem")
    assert str(evaluated) not in json.dumps(metrics), "no paths of this machine"

    table = (evaluated / "out/scores.md").read_text()
    assert table.startswith("| task | samples | right medium | no medium | shuffled | ceiling |")
    for heading in ("## Normalised", "## METEOR", "## Perplexity", "## AI Journey integral"):
        assert heading in table


def test_controls_may_be_asked_of_fewer_samples(
    tiny_checkpoint: Path, corpus: Path, own_cache: Path, tmp_path: Path
) -> None:
    records = tmp_path / "records.jsonl"
    chosen = Evaluation(corpus=corpus, output=tmp_path, limit=5, controls=2, records=records)
    evaluate_checkpoint(tiny_checkpoint, chosen, generate=False)
    asked = [(r["variant"], r["id"]) for r in read_json_lines(records) if r["task"] == "scenes/colour"]
    counts = Counter(variant for variant, _ in asked)
    assert counts == {"right": 5, "none": 2, "shuffled": 2}
    assert {name for variant, name in asked if variant != "right"} == {name for _, name in asked[:2]}


def test_records_hold_what_was_asked_and_answered(evaluated: Path) -> None:
    records = read_json_lines(evaluated / "deep/records.jsonl")
    assert len(records) == 3 * (4 + 5 + 5) + 2
    dialog = next(r for r in records if r["task"] == "dialogs/turns" and r["variant"] == "none")
    assert dialog["kind"] == ["audio", "image"], "what it had, not what the control left"
    assert dialog["references"] == ["red", "low"]
    assert len(dialog["answers"]) == 2
    table = compare(evaluated / "deep/records.jsonl", evaluated / "deep/records.jsonl", "right")
    assert "| all | exact | 16 | 0.00 | 0.00 | +0.00 [+0.00, +0.00] |  |" in table
    assert "log perplexity" in table


def test_each_training_file_is_read_once(
    corpus: Path, tiny_checkpoint: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of its tasks; and those without a probe not at all."""
    read: list[str] = []
    lines = read_json_lines(corpus / "scenes/test.jsonl")
    for index, line in enumerate(lines):
        line["meta"] = line["meta"] | {"task": f"scenes/task{index % 3}", "probe": "scenes/colour"}
        for part in line["messages"][0]["content"]:
            if "image_url" in part:
                place = corpus / "scenes" / part["image_url"]["url"]
                part["image_url"]["url"] = os.path.relpath(place, tmp_path / "corpus/scenes")
    write_json_lines(tmp_path / "corpus/scenes/test.jsonl", lines)

    def iter_samples(path: Path, **options: Any) -> Any:
        read.append(path.name)
        return data.iter_samples(path, **options)

    monkeypatch.setattr("training.evaluation.ceilings.iter_samples", iter_samples)
    evaluation = Evaluation(corpus=tmp_path / "corpus", output=tmp_path / "out", probes=corpus)
    evaluate_checkpoint(tiny_checkpoint, evaluation, generate=False)
    assert read == ["train.jsonl"]
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert [score["ceiling"] for score in scores] == [1.0, 1.0, 1.0]
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert set(metrics["rows"][0]["variants"]["right"]) == {"exact", "perplexity"}, "nothing was generated"
    assert metrics["integral"] is None


class Scripted:
    """Answers by what was asked for: the k-th sample of a task gets the k-th reply."""

    description = "script"

    def __init__(self, answers: dict[str, list[str]], surprise: float | None = None) -> None:
        self.answers, self.surprise = answers, surprise

    def reply(self, samples: Sequence[Sample], name: str) -> list[list[Reply]]:
        return [
            [
                Reply(exact=text == q.reference, text=text, surprise=self.surprise, tokens=1)
                for q, text in zip(questions(sample), [self.answers[sample.id]] if sample.media else [""], strict=True)
            ]
            for sample in samples
        ]


def benchmark_sample(name: str, answer: str, **meta: Any) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": "red.png"}}
    messages = [{"role": "user", "content": [picture]}, {"role": "assistant", "content": answer}]
    return {"id": name, "messages": messages, "meta": meta}


def test_benchmarks_are_scored_as_their_samples_ask(corpus: Path, tmp_path: Path) -> None:
    annotations = ["red"] * 3 + [f"other {index}" for index in range(7)]
    asked = {
        "vqa": [("red", {"answers": annotations}), ("blue", {"answers": annotations})],
        "mmmu": [("B", {"choices": ["a", "b"]}), ("3", {"answers": ["three", "3"]})],
        "pope": [("yes", {}), ("no", {}), ("yes", {}), ("no", {})],
    }
    said = {"vqa": ["Red!", "green"], "mmmu": ["(A) or (B)", "It is 3.0"], "pope": ["Yes", "yes", "No", "no."]}
    answers: dict[str, Any] = {}
    for metric, samples in asked.items():
        lines = []
        for index, (reference, meta) in enumerate(samples):
            answers[f"{metric}{index}"] = said[metric][index]
            meta = {"task": f"{metric}/all", "metric": metric, **meta}
            lines.append(benchmark_sample(f"{metric}{index}", reference, **meta))
        write_json_lines(tmp_path / "corpus" / metric / "test.jsonl", lines)
        shutil.copy(corpus / "scenes/media/test-red-0.png", tmp_path / "corpus" / metric / "red.png")
    evaluation = Evaluation(corpus=tmp_path / "corpus", output=tmp_path / "out")
    table = run._evaluate(Scripted(answers), evaluation, evaluation.tasks(), None)  # type: ignore[arg-type]
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    rows = {row["name"]: row["variants"]["right"] for row in metrics["rows"] if row["scope"] == "task"}
    value = {name: {metric: found["value"] for metric, found in row.items()} for name, row in rows.items()}
    assert value["vqa/all"]["vqa"] == pytest.approx((0.9 + 0) / 2)
    assert value["mmmu/all"]["mmmu"] == 1.0
    assert value["mmmu/all"]["mmmu_drawn"] == 0.0
    # Said yes, yes, no, no where yes, no, yes, no was right.
    for metric in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        assert value["pope/all"][f"pope_{metric}"] == 0.5
    assert "## POPE yes ratio" in table
    assert metrics["integral"] is None, "there is no perplexity to make it of"


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"metric": "cider"}, "meta.metric: 'cider' is none of vqa, mmmu, pope"),
        ({"metric": "vqa"}, "meta.answers: missing"),
        ({"metric": "vqa", "answers": []}, "meta.answers: expected a list of texts"),
        ({"metric": "mmmu", "choices": ["x", 3]}, "meta.choices: expected a list of texts"),
        ({"metric": "mmmu", "choices": ["x", "y"]}, "the reference 'maybe' is none of A, B"),
        ({"metric": "pope"}, "the reference 'maybe' is neither yes nor no"),
    ],
)
def test_an_unscorable_sample_is_refused_before_anything_is_asked(
    corpus: Path, tmp_path: Path, meta: dict[str, Any], message: str
) -> None:
    write_json_lines(tmp_path / "corpus/x/test.jsonl", [benchmark_sample("bad", "maybe", **meta)])
    shutil.copy(corpus / "scenes/media/test-red-0.png", tmp_path / "corpus/x/red.png")
    with pytest.raises(DataError, match="sample bad") as error:
        Evaluation(corpus=tmp_path / "corpus", output=tmp_path).tasks()
    assert message in str(error.value)


def test_a_corpus_without_test_files_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no <source>/test.jsonl"):
        Evaluation(corpus=tmp_path, output=tmp_path).tasks()
