"""`check`: reads files of samples once, decodes every medium, and reports everything that is wrong.

Memory holds one digest for each sample and each different medium (some hundred bytes), and never more than a window of
samples and the media that the workers are decoding. Files of training are read before those of tests, so that media of
training are known when the tests are read.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.errors import DataError, PromptError
from model.prompt import MEDIA_PARTS, TEXT_PARTS
from training.check.media import Prober
from training.check.report import MediaReport, Report, SourceReport, display_name
from training.check.tokens import Measure
from training.data import Ids, Sample, inspect_sample, iter_lines, parse_json
from training.problems import Kind, Problem, ProblemLog, SampleError

# Samples whose media are being decoded while further ones are read.
WINDOW = 64
TEST = "test"


def check(
    files: Sequence[Path],
    *,
    measure: Measure | None = None,
    root: Path | None = None,
    workers: int = 2,
    shown: int = 20,
    allowed: Iterable[Kind] = (),
) -> Report:
    """Check files of samples together: ids must be unique over all of them.

    Args:
        files: JSONL files; those named `test.jsonl` are tests.
        measure: counts tokens and checks media by a recipe.
        root: if given, media must lie inside this folder.
        workers: threads that decode.
        shown: problems kept to be shown.
        allowed: kinds that do not make the check fail.

    Raises:
        DataError: a file that cannot be read at all.
    """
    checker = _Checker(measure, root, workers, shown)
    try:
        for path in sorted(files, key=lambda path: path.stem == TEST):
            checker.file(path)
    finally:
        checker.prober.close()
    order = {str(path): index for index, path in enumerate(files)}
    reports = sorted(checker.reports, key=lambda report: order[report.path])
    return Report(reports, checker.problems, frozenset(allowed))


def sample_files(paths: Iterable[Path]) -> list[Path]:
    """The files of samples that paths name: a file, a folder of some, or a corpus of such folders.

    Raises:
        DataError: a path without any.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        inside = [file for pattern in ("*.jsonl", "*/*.jsonl") for file in sorted(path.glob(pattern))]
        # What a conversion left out, and tables of captions, are no samples.
        inside = [file for file in inside if not file.name.endswith(".skipped.jsonl") and file.stem != "metadata"]
        if not inside:
            raise DataError(f"{path}: " + ("holds no .jsonl files" if path.is_dir() else "does not exist"))
        found += inside
    return list(dict.fromkeys(found))


class _Checker:
    """What is remembered from file to file."""

    def __init__(self, measure: Measure | None, root: Path | None, workers: int, shown: int) -> None:
        self.measure, self.root = measure, root
        self.problems = ProblemLog(shown)
        self.prober = Prober(workers, measure.encoders if measure else {})
        self.reports: list[SourceReport] = []
        self._ids = Ids()
        self._samples: dict[bytes, str] = {}
        self._contents: dict[bytes, tuple[Path, bool]] = {}
        """Digest of a medium -> the first file with it, and whether training shows that."""

    def file(self, path: Path) -> None:
        report = SourceReport(display_name(path), str(path))
        self.reports.append(report)
        if self.measure:
            report.limit = self.measure.limits.get(path.resolve().parent.name)
        waiting: deque[Sample] = deque()
        seen: set[Path] = set()
        size = path.stat().st_size if path.is_file() else 0
        with tqdm(total=size, desc=f"check {report.name}", unit="B", unit_scale=True, leave=False, disable=None) as bar:
            for where, line in iter_lines(path):
                bar.update(len(line))
                report.lines += 1
                sample = self._read(line, path, where, report)
                if sample is not None:
                    for reference in sample.media:
                        self.prober.begin(reference)
                    waiting.append(sample)
                if len(waiting) > WINDOW:
                    self._finish(waiting.popleft(), report, seen)
            while waiting:
                self._finish(waiting.popleft(), report, seen)
        if not report.lines:
            self._note(report, Kind.SHAPE, str(path), "holds no samples")

    def _read(self, line: bytes, path: Path, where: str, report: SourceReport) -> Sample | None:
        try:
            values = parse_json(line)
        except SampleError as error:
            self._note(report, error.kind, where, error.message)
            return None
        sample, errors = inspect_sample(values, path.parent, root=self.root, where=where)
        if sample is not None:
            try:
                self._ids.add(sample.id, where)
            except SampleError as error:
                errors = [error]
        for found in errors:
            self._note(report, found.kind, where, found.message)
        return sample

    def _finish(self, sample: Sample, report: SourceReport, seen: set[Path]) -> None:
        """Count a sample whose media are being decoded."""
        report.samples += 1
        report.turns += sum(message["role"] == "assistant" for message in sample.messages)
        for message in sample.messages:
            spread = {"user": report.questions, "assistant": report.answers}.get(message["role"])
            if spread is not None:
                spread.add(len(_text(message["content"])))
        digests = [self._medium(sample, index, report, seen) for index in range(len(sample.media))]
        first = self._samples.setdefault(fingerprint(sample, digests), sample.where)
        if first != sample.where:
            self._note(report, Kind.DUPLICATE_SAMPLE, sample.where, f"the same conversation as {first}")
        if self.measure is not None:
            self._count_tokens(sample, report)

    def _medium(self, sample: Sample, index: int, report: SourceReport, seen: set[Path]) -> bytes:
        reference = sample.media[index]
        facts, media = self.prober.facts(reference), report.media.setdefault(reference.modality, MediaReport())
        media.used += 1
        if facts.error is not None:
            self._note(report, Kind.UNREADABLE, sample.where, f"{reference.path}: {facts.error}")
        test = Path(report.path).stem == TEST
        first, trained = self._contents.setdefault(facts.digest, (reference.path, not test))
        if test and trained:
            self._note(report, Kind.LEAK, sample.where, f"{reference.path}: training shows the same, {first}")
        if reference.row is not None:
            media.features += 1
        elif reference.path not in seen:
            seen.add(reference.path)
            media.files += 1
            media.unreadable += facts.error is not None
            media.same_content += first != reference.path
            if facts.size is not None:
                media.width.add(facts.size[0])
                media.height.add(facts.size[1])
            if facts.seconds is not None:
                media.seconds.add(facts.seconds)
        return facts.digest

    def _count_tokens(self, sample: Sample, report: SourceReport) -> None:
        assert self.measure is not None
        try:
            length = len(self.measure.prompt.encode_training(sample.messages).input_ids)
        except PromptError as error:
            self._note(report, Kind.PROMPT, sample.where, str(error))
            return
        report.tokens.add(length)
        if report.limit is not None and length > report.limit:
            self._note(report, Kind.TOO_LONG, sample.where, f"{length} tokens, at most {report.limit} fit; shorten it")

    def _note(self, report: SourceReport, kind: Kind, where: str, message: str) -> None:
        self.problems.add(Problem(where, kind, message))
        report.problems[kind] += 1


def fingerprint(sample: Sample, digests: Sequence[bytes]) -> bytes:
    """16 bytes that are equal for conversations with the same texts and the same bytes of media at the same places."""
    media = iter(digests)
    said = [
        [
            message["role"],
            message["content"]
            if isinstance(message["content"], str)
            else [next(media).hex() if part["type"] in MEDIA_PARTS else part["text"] for part in message["content"]],
        ]
        for message in sample.messages
    ]
    return hashlib.sha256(json.dumps(said).encode()).digest()[:16]


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] in TEXT_PARTS)
