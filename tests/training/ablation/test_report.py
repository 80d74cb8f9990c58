"""What a report says, against files that were read by a person."""

import json
from pathlib import Path

from tests.training.ablation.results import outcomes, result
from training.ablation.report import Facts, markdown, write_report
from training.ablation.summary import Summary, summarise
from training.ablation.sweep import read_sweep

GOLDEN = Path(__file__).parent / "golden"
FACTS = Facts(
    command="quartet ablate data tuning --corpus corpus --output runs --jobs 2 --threads 1",
    corpus="corpus",
    jobs=2,
    threads=1,
    device="A processor",
    cores=4,
    memory=8 << 30,
    versions={"torch": "2", "transformers": "5"},
    date="2026-11-20",
)


def summaries() -> list[Summary]:
    """Two sweeps: one whole, one with a trial that failed and one that is missing."""
    data, tuning = read_sweep(Path("data")), read_sweep(Path("tuning"))
    curves = {"random": (0.0, 0.1, 0.2, 0.4), "ridge": (0.1, 0.2, 0.2, 0.3), "names": (0.3, 0.5, 0.6, 0.6)}
    shares = (0.1, 0.25, 0.5, 1.0)
    return [
        summarise(
            data,
            outcomes(
                data,
                {
                    (f"start {start}, share {share}", seed): result(
                        {"a": score + 0.02 * seed, "b|c": score}, samples=round(1000 * share), tokens=int(9000 * share)
                    )
                    for start, curve in curves.items()
                    for share, score in zip(shares, curve, strict=True)
                    for seed in (0, 1)
                },
            ),
        ),
        summarise(
            tuning,
            outcomes(
                tuning,
                {
                    ("tuned projector", 0): result({"a": 0.5}),
                    ("tuned projector + LoRA", 0): "stage align: the loss is nan\nat step 10",
                    ("tuned projector + language model", 0): None,
                    **{(f"tuned {name}", 1): None for name in tuning.axis("tuned")},
                },
            ),
        ),
    ]


def test_the_report_is_the_golden_one() -> None:
    assert markdown(summaries(), FACTS) == (GOLDEN / "report.md").read_text()


def test_what_is_written_is_complete_and_knows_no_folder(tmp_path: Path) -> None:
    path = write_report(tmp_path, summaries(), FACTS)
    assert path.read_text() == (GOLDEN / "report.md").read_text()
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    values = json.loads((tmp_path / "results.json").read_text())
    assert [(s["name"], len(s["points"]), len(s["failed"]), len(s["missing"])) for s in values["sweeps"]] == [
        ("data", 12, 0, 0),
        ("tuning", 1, 1, 4),
    ]
    assert values["sweeps"][0]["savings"][1]["series"] == "names"
    assert str(Path(__file__).parents[3]) not in json.dumps(values)


def test_facts_are_of_this_machine() -> None:
    facts = Facts.here(command="c", corpus="x", jobs=1, threads=1)
    assert facts.cores >= 1
    assert facts.memory > 1 << 28
    assert facts.device
    assert set(facts.versions) == {"torch", "transformers"}
