"""What a dialog must not be: every reason for which one is dropped, and the check for it.

`check` gives the first reason that applies. Reasons that are not about the dialog itself (`malformed`, `cut-off`,
`no-answer`, `duplicate`) are named here too, so that the table of what was dropped is explained in one place. The
checks are the same whoever wrote the dialog, and rather drop a good one than keep a bad one.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from training.synthesis.annotations import CAPTION, TRANSCRIPT
from training.synthesis.dialog import Dialog
from training.synthesis.jobs import Job
from training.synthesis.kinds import KINDS
from training.synthesis.languages import LANGUAGES, MIXED, fits, normalised, speaks, stems
from training.synthesis.mentions import mentions

REASONS = {
    "malformed": "not the JSON that was asked for",
    "cut-off": "ends in the middle, at the limit of tokens",
    "medium-unknown": "gives a medium that there is not",
    "medium-missing": "never gives one of the media",
    "medium-repeated": "gives a medium twice",
    "medium-order": "gives media in another order than they are numbered in",
    "medium-absent": "speaks of a medium that is not there, or not yet",
    "medium-unused": "says nothing of what is known of a medium",
    "turn-count": "too few or too many turns for its kind",
    "too-short": "a question or answer of too few words for its kind",
    "too-long": "a question or answer of too many words for its kind",
    "leaks-instruction": "repeats the instruction, or speaks of it",
    "mentions-annotation": "speaks of captions, annotations or descriptions instead of what is seen and heard",
    "refusal": "an answer that refuses, or says that nothing can be seen or heard",
    "wrong-language": "a text in another language than asked for",
    "repeats-itself": "asks a question twice, or answers with the question",
    "duplicate": "the same words about the same media as an earlier dialog",
    "no-answer": "the endpoint gave none, after all retries; asked again by the next run",
}

_ANNOTATION = re.compile(
    r"\bcaption(?:s|ed|ing)?\b|\bannotat\w+|\bas described\b|\bbounding box\w*|\bmetadata\b|\btranscripts?\b|"
    r"\b(?:provided|given|above|following) (?:description|information|text|context|details|notes?|data)\b|"
    r"\b(?:according to|based on|from) the (?:description|information|context|notes?|data)\b|"
    r"\bthe description (?:says|mentions|states|does)\b|\bground truth\b|"
    r"\bkapsyen\b|\banotasi\b|\btranskrip(?:si)?\b|\bkotak sempadan\b|\bseperti yang (?:di\w+kan|dihuraikan)\b|"
    r"\bberdasarkan (?:huraian|penerangan|maklumat|keterangan|teks|konteks|nota)\b|"
    r"\b(?:maklumat|keterangan|huraian|penerangan) yang diberikan\b|"
    r"\[ ?[01]?\.\d+ ?, ?[01]?\.\d+",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    r"</?[a-z]\w*(?: \d+)?>|\bjson\b|\bsystem prompt\b|"
    r"\b(?:my|the|these|your) instructions?\b|\bas instructed\b|\bi was (?:asked|told|instructed) to\b|"
    r"\b(?:here is|here's) (?:the|a|your) (?:dialog|dialogue|conversation)\b|\barahan (?:ini|yang diberikan|sistem)\b|"
    r"\bberikut (?:ialah|adalah) (?:dialog|perbualan)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial|language model|assistant|text[- ]based)\b|\blanguage model\b|"
    r"\bi(?:'m| am|’m) (?:sorry|afraid|unable|not able)\b|\bi apologi[sz]e\b|\bsorry, (?:but )?i\b|"
    r"\bi (?:can(?:'|’)?t|cannot|can not|do(?:n't|n’t| not) have (?:access|the ability)|am unable)\b|"
    r"\b(?:cannot|can't|can’t|unable to|not possible to|impossible to) (?:be )?(?:determine|see|view|hear|access|tell|"
    r"say|identify|listen|play)\w*|\bno (?:image|picture|audio|sound) (?:is|was|has been) (?:provided|given)\b|"
    r"^maaf\b|\bmaaf, |\bsaya (?:tidak|tak) (?:dapat|boleh|mampu)\b|\bsebagai (?:sebuah )?(?:model|ai|pembantu)\b|"
    r"\bmodel bahasa\b|\btidak dapat (?:dipastikan|dilihat|didengar|ditentukan)\b",
    re.IGNORECASE,
)
# So many words in a row that the instruction has too are no coincidence.
_SHARED_WORDS = 8


@dataclass(frozen=True)
class Rejection:
    """Why a dialog is dropped: a key of `REASONS`, and what it was in this one."""

    reason: str
    detail: str


def check(dialog: Dialog, job: Job, instruction: str = "") -> Rejection | None:
    """The first reason to drop a dialog, None to keep it.

    Args:
        dialog: as parsed; nothing about its content is taken for granted.
        job: what was asked for.
        instruction: what the generator was told, without the annotations.
    """
    return next((Rejection(*each) for each in _faults(dialog, job, instruction)), None)


def _faults(dialog: Dialog, job: Job, instruction: str) -> Iterator[tuple[str, str]]:
    yield from _media(dialog, job)
    yield from _sizes(dialog, job)
    known = _shown_or_spoken(job)
    shingles = set(_shingles(instruction))
    for text in dialog.texts:
        if found := _phrase(_INSTRUCTION, text, known):
            yield "leaks-instruction", found
        if shared := next((each for each in _shingles(text) if each in shingles), None):
            yield "leaks-instruction", shared
        if found := _phrase(_ANNOTATION, text, known):
            yield "mentions-annotation", found
    for turn in dialog.turns:
        if found := _phrase(_REFUSAL, turn.answer.strip(), known):
            yield "refusal", found
    yield from _language(dialog, job.language)
    yield from _mentioned(dialog, job)
    yield from _repeated(dialog)
    yield from _unused(dialog, job)


def _shown_or_spoken(job: Job) -> str:
    """What the media show and what is said in them: someone may say "I'm sorry", and a sign may hold a caption."""
    texts = [each.text for medium in job.media for kind in (CAPTION, TRANSCRIPT) for each in medium.known(kind)]
    return "\n".join(texts).lower()


def _phrase(pattern: re.Pattern[str], text: str, known: str) -> str | None:
    return next((found[0] for found in pattern.finditer(text) if found[0].lower().strip(", ") not in known), None)


def _media(dialog: Dialog, job: Job) -> Iterator[tuple[str, str]]:
    given = [name for turn in dialog.turns for name in turn.media]
    for name, times in Counter(given).items():
        if name not in job.names:
            yield "medium-unknown", name[:80]
        elif times > 1:
            yield "medium-repeated", name
    for name in job.names:
        if name not in given:
            yield "medium-missing", name
    # Across modalities any order will do: "the second picture" stays the second picture.
    for modality in {name.split()[0] for name in job.names}:
        order = [name for name in given if name.startswith(modality)]
        if order != [name for name in job.names if name.startswith(modality)]:
            yield "medium-order", ", ".join(order)[:80]


def _sizes(dialog: Dialog, job: Job) -> Iterator[tuple[str, str]]:
    limits = KINDS[job.kind].limits
    low, high = limits.turns
    if not low <= len(dialog.turns) <= high:
        yield "turn-count", f"{len(dialog.turns)} turns, accepted are {low} to {high}"
    for turn in dialog.turns:
        for what, text, (low, high) in (
            ("question", turn.question, limits.question_words),
            ("answer", turn.answer, limits.answer_words),
        ):
            count = len(text.split()) if normalised(text) else 0
            if not low <= count <= high:
                reason = "too-short" if count < low else "too-long"
                yield reason, f"{what} of {count} words, accepted are {low} to {high}"


def _shingles(text: str) -> Iterator[str]:
    """Runs of `_SHARED_WORDS` words."""
    found = normalised(text).split()
    for start in range(len(found) - _SHARED_WORDS + 1):
        yield " ".join(found[start : start + _SHARED_WORDS])


def _language(dialog: Dialog, language: str) -> Iterator[tuple[str, str]]:
    for text in dialog.texts:
        if not fits(text, language):
            yield "wrong-language", text[:80]
    if not fits(" ".join(dialog.texts), language):
        yield "wrong-language", "the dialog as a whole"
    if language == MIXED:
        for each in LANGUAGES:
            if not any(speaks(text, each) for text in dialog.texts):
                yield "wrong-language", f"nothing in {LANGUAGES[each]}"


def _mentioned(dialog: Dialog, job: Job) -> Iterator[tuple[str, str]]:
    given: Counter[str] = Counter()
    for turn in dialog.turns:
        given.update(name.split()[0] for name in turn.media)
        for text in (turn.question, turn.answer):
            for mention in mentions(text):
                number = 1 if mention.number is None else mention.number
                if not 1 <= number <= given[mention.modality]:
                    yield "medium-absent", mention.words


def _unused(dialog: Dialog, job: Job) -> Iterator[tuple[str, str]]:
    """Media of which no word that is known of them is said; a translation shares none, so it does not count."""
    said = stems(" ".join(dialog.texts))
    for name, medium in zip(job.names, job.media, strict=True):
        known = [each for each in medium.annotations if job.language in (each.language, MIXED)]
        meant = stems(" ".join(f"{each.text} {each.question}" for each in known))
        if meant and not meant & said:
            yield "medium-unused", name


def _repeated(dialog: Dialog) -> Iterator[tuple[str, str]]:
    seen = set()
    for turn in dialog.turns:
        question = (normalised(turn.question), bool(turn.media))
        if question in seen and not turn.media:
            yield "repeats-itself", turn.question[:80]
        if normalised(turn.answer) == question[0]:
            yield "repeats-itself", turn.answer[:80]
        seen.add(question)
