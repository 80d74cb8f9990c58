"""Reads samples into a pool of annotated media.

Takes samples (JSON lines, see `training.data`) with one medium each; every answer in them is an annotation of that
medium, and `meta` may hold more (`training.synthesis.fields`). What kind an answer is follows from the sample's task by
the rules below; what no rule knows is the answer to its question. Samples about the same medium are brought together.
Gives the media in the order in which they first appear, so that the same files always give the same pool.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from model.errors import ConfigurationError, DataError
from model.prompt import TEXT_PARTS
from training.data import MediaRef, Sample, iter_samples
from training.synthesis.annotations import ANSWER, CAPTION, KINDS, NAME, OBJECT, TRANSCRIPT, Annotation, Medium
from training.synthesis.fields import annotations_in, language_of
from training.synthesis.languages import LANGUAGES, normalised

# Task patterns of Quartet's own corpora and of common names of tasks; the first that fits decides.
RULES: tuple[tuple[str, str], ...] = (
    (CAPTION, "*caption*"),
    (CAPTION, "*/describe"),
    (TRANSCRIPT, "*transcri*"),
    (TRANSCRIPT, "*/asr*"),
    (TRANSCRIPT, "speech/*"),
    (NAME, "*/name"),
    (NAME, "*/common"),
)
# Characters: longer texts fill a context window and teach nothing that the beginning does not.
MAX_TEXT = 8000


@dataclass(kw_only=True)
class Pool:
    """All media with their annotations, and how many samples were of no use, by reason."""

    media: list[Medium] = field(default_factory=list)
    samples: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def parse_rules(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Rules written as `kind=pattern`, such as `caption=coco/*`, before the built-in ones.

    Raises:
        ConfigurationError: no such kind, or no pattern.
    """
    rules = []
    for text in texts:
        kind, _, pattern = text.partition("=")
        if kind not in KINDS[:4] or not pattern:
            raise ConfigurationError(
                f"--annotation {text!r}: expected KIND=PATTERN, the pattern one of tasks, the kind one of "
                f"{', '.join(KINDS[:4])}; for example caption=coco/*"
            )
        rules.append((kind, pattern))
    return (*rules, *RULES)


def gather(files: Sequence[Path], rules: Sequence[tuple[str, str]] = RULES) -> Pool:
    """Read files of samples into a pool.

    Raises:
        DataError: an unusable line, field or annotation, by file; or nothing to make dialogs from.
    """
    pool = Pool()
    known: dict[MediaRef, Medium] = {}
    for file in files:
        for sample in iter_samples(file):
            pool.samples += 1
            if len(set(sample.media)) != 1:
                pool.skipped["sample without a medium" if not sample.media else "sample with several media"] += 1
                continue
            if language_of(sample) not in LANGUAGES:
                pool.skipped[f"sample in language {language_of(sample)!r}"] += 1
                continue
            try:
                found = [*_from_turns(sample, rules), *annotations_in(sample)]
            except DataError as error:
                raise DataError(f"{sample.where or file}: {error}") from None
            if sample.media[0] not in known:
                known[sample.media[0]] = Medium(reference=sample.media[0])
                pool.media.append(known[sample.media[0]])
            _add(known[sample.media[0]], found, sample.meta, pool.skipped)
    pool.media = [medium for medium in pool.media if medium.annotations]
    if not pool.media:
        raise DataError(f"{', '.join(map(str, files))}: no sample has exactly one medium with something known of it")
    return pool


def _from_turns(sample: Sample, rules: Sequence[tuple[str, str]]) -> list[Annotation]:
    turns = _turns(sample.messages)
    found = []
    for question, answer in turns:
        kind = next((kind for kind, pattern in rules if fnmatchcase(sample.task, pattern)), ANSWER)
        if len(turns) > 1:
            kind = ANSWER  # one task name cannot say what each of several answers is
        if kind == ANSWER and not question:
            kind = CAPTION  # a medium and a text, nothing asked
        found.append(
            Annotation(
                kind=kind,
                text=answer,
                question=question if kind == ANSWER else "",
                language=language_of(sample),
                sample=sample.id,
                task=sample.task,
            )
        )
    return found


def _turns(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Questions with their answers; a question is all the user said since the last answer."""
    turns, asked = [], []
    for message in messages:
        content = message["content"]
        if message["role"] == "user":
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            asked += [part["text"].strip() for part in parts if part["type"] in TEXT_PARTS]
        elif message["role"] == "assistant":
            turns.append((" ".join(filter(None, asked)), content.strip()))
            asked = []
    return turns


def _add(medium: Medium, found: Iterable[Annotation], meta: Mapping[str, Any], skipped: Counter[str]) -> None:
    """Note what is new; the same thing said twice is one annotation."""
    keys = {_key(each) for each in medium.annotations}
    for each in found:
        if len(each.text) + len(each.question) + len(each.rationale) > MAX_TEXT:
            skipped[f"annotation of more than {MAX_TEXT} characters"] += 1
        elif not normalised(each.text):
            skipped["annotation without a word"] += 1
        elif _key(each) in keys:
            skipped["annotation known already"] += 1
        else:
            # Objects are listed one by one: two dogs are two annotations.
            keys |= {_key(each)} if each.kind != OBJECT else set()
            medium.annotations.append(each)
    licence = meta.get("licence")
    if isinstance(licence, str) and licence not in medium.licences:
        medium.licences.append(licence)


def _key(each: Annotation) -> tuple[object, ...]:
    return each.kind, each.language, normalised(each.text), normalised(each.question), each.box
