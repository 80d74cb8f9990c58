"""Dialogs about one medium: UniMM-Chat's merged annotations, and LLaVA's conversation, description and reasoning."""

import random
from collections.abc import Iterator

from training.synthesis.annotations import ANSWER, CAPTION, NAME, TRANSCRIPT, Medium
from training.synthesis.dialog import Draft
from training.synthesis.jobs import Job
from training.synthesis.kinds import KINDS
from training.synthesis.languages import LANGUAGES, normalised, sentence, stems
from training.synthesis.templates.builder import Builder, Said
from training.synthesis.templates.objects import Objects
from training.synthesis.templates.phrases import phrase
from training.synthesis.templates.relations import describe

# Answers that say nothing without their question, so that two of them are not the same thing said twice.
_YES_NO = {"yes", "no", "ya", "tidak", "bukan"}
_MERGED_TURNS, _CONVERSATION_TURNS = 12, 6


def merge(job: Job, rng: random.Random) -> Draft:
    """All that the data sets know of a medium in one dialog: what it is, all questions, the objects, a summary."""
    builder = Builder(job, rng)
    (name,) = job.names
    builder.given.append(name)
    if builder.medium(name).main(builder.language):
        builder.add(describe(builder, name), [name])
    _ask_on(builder, name, _MERGED_TURNS)
    facts = _facts(builder, name)
    if len(facts) > 1:
        builder.add(Said(builder.say("summary"), " ".join(facts), "summary"))
    return builder.draft()


def conversation(job: Job, rng: random.Random) -> Draft:
    """Questions about what is in a medium, in any order."""
    builder = Builder(job, rng)
    (name,) = job.names
    builder.given.append(name)
    wanted = rng.randint(KINDS[job.kind].limits.turns[0], _CONVERSATION_TURNS)
    if builder.medium(name).main(builder.language) and rng.random() < 0.5:
        builder.add(describe(builder, name), [name])
    _ask_on(builder, name, wanted)
    if builder.medium(name).main(builder.language) and name not in builder.told and len(builder.turns) < wanted:
        builder.add(describe(builder, name), [] if builder.turns else [name])
    return builder.draft()


def description(job: Job, rng: random.Random) -> Draft:
    """One long answer of everything that is known."""
    builder = Builder(job, rng)
    (name,) = job.names
    question = builder.say("detail", it=builder.it(name))
    builder.add(Said(question, " ".join(_facts(builder, name)), "detail"), [name])
    return builder.draft()


def reasoning(job: Job, rng: random.Random) -> Draft:
    """One or two questions whose answers give their reasons."""
    builder = Builder(job, rng)
    (name,) = job.names
    reasons = _reasons(builder.medium(name), builder.language, rng)
    most = KINDS[job.kind].limits.turns[1]
    for said in rng.sample(reasons, min(len(reasons), rng.randint(1, most))):
        builder.add(said, [] if builder.turns else [name])
    return builder.draft()


def kinds_known(medium: Medium, language: str) -> int:
    """How many of caption (or name), transcript, questions and objects there are: what a merge brings together."""
    groups = ((CAPTION, NAME), (TRANSCRIPT,), (ANSWER,))
    return sum(any(medium.known(kind, language) for kind in group) for group in groups) + bool(
        Objects(medium, language)
    )


def turns_known(medium: Medium, language: str) -> int:
    """At least how many different questions about a medium have an answer."""
    questions = {normalised(said.question) for said in _questions(medium, language, random.Random(0))}
    return len(questions) + (medium.main(language) is not None)


def facts_known(medium: Medium, language: str) -> list[str]:
    """The sentences of a description."""
    rng = random.Random(0)
    texts: list[str] = []
    for each in (*medium.known(CAPTION, language), *medium.known(NAME, language)):
        if not stems(each.text) <= stems(" ".join(texts)):
            texts.append(sentence(each.text))
    texts += [f"“{each.text}”" for each in medium.known(TRANSCRIPT, language)]
    return texts + Objects(medium, language).facts(rng)


def reasons_known(medium: Medium, language: str) -> int:
    """How many questions have an answer with a reason."""
    return len(_reasons(medium, language, random.Random(0)))


def _facts(builder: Builder, name: str) -> list[str]:
    return facts_known(builder.medium(name), builder.language)


def _reasons(medium: Medium, language: str, rng: random.Random) -> list[Said]:
    explained = [each for each in medium.known(ANSWER, language) if each.rationale]
    found = [
        Said(
            phrase(rng, "reason/why", language, question=each.question),
            f"{sentence(each.text)} {sentence(each.rationale)}",
            "reason/why",
        )
        for each in explained
    ]
    return found + Objects(medium, language).reasons(rng)


def _questions(medium: Medium, language: str, rng: random.Random) -> list[Said]:
    """Everything that can be asked, in random order; of phrasings of one question with one answer only the first."""
    found, answered = [], set()
    for each in rng.sample(known := medium.known(ANSWER, language), len(known)):
        answer = normalised(each.text)
        key = (each.task, answer, normalised(each.question) if answer in _YES_NO else "")
        if each.task == "default" or key not in answered:
            answered.add(key)
            text = f"{sentence(each.text)} {sentence(each.rationale)}" if each.rationale else sentence(each.text)
            found.append(Said(each.question, text, "answer"))
    found += Objects(medium, language).questions(rng)
    rng.shuffle(found)
    return found


def _ask_on(builder: Builder, name: str, turns: int) -> None:
    """Ask what is known until the dialog has so many turns; in mixed dialogs in both languages in turn."""
    questions: dict[str, Iterator[Said]] = {
        language: iter(_questions(builder.medium(name), language, builder.rng)) for language in LANGUAGES
    }
    while len(builder.turns) < turns:
        said = next(questions[builder.language], None)
        if said is None:
            return
        if builder.turns:
            text = builder.say("another", question=said.question)
            said = Said(text, said.answer, said.template)
        builder.add(said, [] if builder.turns else [name])
