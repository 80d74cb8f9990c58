"""Replies -> one record per sample and control -> estimates of every metric."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import DataError
from training.data import Sample
from training.evaluation import mmmu, pope, text, vqa
from training.evaluation.meteor import Meteor
from training.evaluation.questions import Reply, questions
from training.evaluation.statistics import Estimate, mean, perplexity, proportion

BENCHMARKS = ("vqa", "mmmu", "pope")
"""What `meta.metric` of a sample may ask for; the last assistant turn is what they score."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How one sample was answered under one control."""

    task: str
    id: str
    variant: str
    language: str
    kind: list[str]
    """Modalities of its media, sorted."""
    references: list[str]
    answers: list[str] | None
    """One per assistant turn; None where none was generated."""
    exact: bool
    """Every turn word for word."""
    normalised: bool | None = None
    """Every turn after normalisation."""
    meteor: float | None = None
    """Mean over the turns."""
    harmonic_mean: float | None = None
    """METEOR without its penalty for order."""
    surprise: float | None = None
    """Sum of -log p over the tokens of all reference answers, nats."""
    tokens: int = 0
    metric: str | None = None
    """Its benchmark, one of `BENCHMARKS`."""
    score: float | None = None
    """Of the benchmark, 0..1."""
    facts: dict[str, bool] = field(default_factory=dict)
    """What else the benchmark counts: `found` (MMMU), `said_yes` and `wanted_yes` (POPE)."""
    failures: list[str] = field(default_factory=list)

    def line(self) -> dict[str, Any]:
        """As it is written to the records."""
        return asdict(self)


def check(sample: Sample) -> None:
    """Refuse a sample whose benchmark cannot be scored.

    Raises:
        DataError: an unknown `meta.metric`, or one without what it needs; names the sample.
    """
    metric, answers, options = (sample.meta.get(key) for key in ("metric", "answers", "choices"))
    where = f"sample {sample.id}: meta"
    if metric is not None and metric not in BENCHMARKS:
        raise DataError(f"{where}.metric: {metric!r} is none of {', '.join(BENCHMARKS)}")
    for key, values in (("answers", answers), ("choices", options)):
        if values is not None and not (isinstance(values, list) and values and all(isinstance(v, str) for v in values)):
            raise DataError(f"{where}.{key}: expected a list of texts, got {values!r}")
    if metric == "vqa" and answers is None:
        raise DataError(f"{where}.answers: missing; vqa needs the annotators' answers")
    if metric == "mmmu" and options is not None and sample.answer.strip() not in mmmu.letters(options):
        raise DataError(
            f"{where}.choices: the reference {sample.answer!r} is none of {', '.join(mmmu.letters(options))}"
        )
    if metric == "pope" and pope.wants_yes(sample.answer) is None:
        raise DataError(f"sample {sample.id}: the reference {sample.answer!r} is neither yes nor no, as pope needs")


def record(sample: Sample, variant: str, replies: Sequence[Reply], kind: frozenset[str], meteor: Meteor) -> Record:
    """Score the replies to one sample; `kind` is the set of modalities it has, whatever the control left of them."""
    references = [question.reference for question in questions(sample)]
    language = str(sample.meta.get("language", "en"))
    surprises = [reply.surprise for reply in replies if reply.surprise is not None]
    known = len(surprises) == len(replies)
    values: dict[str, Any] = {
        "answers": None,
        "surprise": sum(surprises) if known else None,
        "tokens": sum(reply.tokens for reply in replies) if known else 0,
    }
    answers = [reply.text for reply in replies if reply.text is not None]
    if len(answers) == len(replies):
        pairs = list(zip(answers, references, strict=True))
        scores = [meteor(answer, reference, language) for answer, reference in pairs]
        values |= {
            "answers": answers,
            "normalised": all(text.normalised(answer, reference) for answer, reference in pairs),
            "meteor": sum(score.score for score in scores) / len(scores),
            "harmonic_mean": sum(score.harmonic_mean for score in scores) / len(scores),
            **_benchmark(sample, answers[-1]),
        }
    return Record(
        task=sample.task,
        id=sample.id,
        variant=variant,
        language=language,
        kind=sorted(kind),
        references=references,
        exact=all(reply.exact for reply in replies),
        failures=[reply.failure for reply in replies if reply.failure],
        **values,
    )


def _benchmark(sample: Sample, answer: str) -> dict[str, Any]:
    metric = sample.meta.get("metric")
    if metric == "vqa":
        return {"metric": metric, "score": vqa.soft_accuracy(answer, sample.meta["answers"])}
    if metric == "mmmu" and "choices" in sample.meta:
        choice = mmmu.parse_choice(answer, mmmu.letters(sample.meta["choices"]), sample.id)
        right = choice.letter == sample.answer.strip()
        return {"metric": metric, "score": float(right), "facts": {"found": choice.found}}
    if metric == "mmmu":
        references = sample.meta.get("answers") or [sample.answer]
        return {"metric": metric, "score": float(mmmu.open_is_right(answer, references)), "facts": {"found": True}}
    if metric == "pope":
        said, wanted = pope.says_yes(answer), bool(pope.wants_yes(sample.answer))
        facts = {"said_yes": said, "wanted_yes": wanted}
        return {"metric": metric, "score": float(said == wanted), "facts": facts}
    return {}


def estimates(records: Sequence[Record]) -> dict[str, Estimate]:
    """Every metric that all of these records have; `mmmu_drawn` is the share of options that were drawn by lot."""
    found = {"exact": proportion(sum(r.exact for r in records), len(records))}
    if all(r.normalised is not None for r in records):
        found["normalised"] = proportion(sum(bool(r.normalised) for r in records), len(records))
        found["meteor"] = mean([r.meteor or 0.0 for r in records])
    told = [(r.surprise, r.tokens) for r in records if r.surprise is not None and r.tokens]
    if told and len(told) == sum(not r.failures for r in records):
        found["perplexity"] = perplexity([surprise for surprise, _ in told], [tokens for _, tokens in told])
    for metric in BENCHMARKS:
        scored = [r for r in records if r.metric == metric]
        if scored:
            found |= _OF_BENCHMARK[metric](scored)
    return found


def _vqa(records: Sequence[Record]) -> dict[str, Estimate]:
    return {"vqa": mean([r.score or 0.0 for r in records])}


def _mmmu(records: Sequence[Record]) -> dict[str, Estimate]:
    drawn = sum(not r.facts["found"] for r in records)
    right = sum(bool(r.score) for r in records)
    return {"mmmu": proportion(right, len(records)), "mmmu_drawn": proportion(drawn, len(records))}


def _pope(records: Sequence[Record]) -> dict[str, Estimate]:
    said, wanted = ([r.facts[key] for r in records] for key in ("said_yes", "wanted_yes"))
    counts = pope.Counts.of(said, wanted)
    found = {
        "pope_accuracy": proportion(counts.right, counts.total),
        "pope_yes_ratio": proportion(counts.said_yes, counts.total),
        "pope_f1": pope.f1(said, wanted),
    }
    # As in the benchmark, a precision or recall of nothing is left out rather than called zero or one.
    if counts.said_yes:
        found["pope_precision"] = proportion(counts.true_positive, counts.said_yes)
    if counts.true_positive + counts.false_negative:
        found["pope_recall"] = proportion(counts.true_positive, counts.true_positive + counts.false_negative)
    return found


_OF_BENCHMARK: dict[str, Callable[[Sequence[Record]], dict[str, Estimate]]] = {
    "vqa": _vqa,
    "mmmu": _mmmu,
    "pope": _pope,
}
