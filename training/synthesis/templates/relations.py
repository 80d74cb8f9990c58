"""Dialogs over several pictures and sounds, after MMMModal: what each is, how they differ, what connects them.

The media come all at once, one by one, or some first; after each batch something is asked about them, and a few more
questions follow. Whatever was not said by then is said in a last turn, so no medium is left out.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from training.synthesis.annotations import ANSWER, NAME, TRANSCRIPT, Annotation
from training.synthesis.dialog import Draft
from training.synthesis.jobs import Job
from training.synthesis.languages import MIXED, content_words, listed, sentence, stems
from training.synthesis.templates.builder import Builder, Said

# Words of a transcript that still name a thing, so that it can be compared with what a picture shows.
_NAMING_WORDS = 3
_SHARED_WORDS = 3
# A question that was asked before is not asked again: so often another one is looked for.
_TRIES = 20


def relations(job: Job, rng: random.Random) -> Draft:
    """A dialog over all media of the job."""
    builder = Builder(job, rng)
    for batch in _batches(list(job.names), rng):
        builder.given += batch
        said = describe(builder, batch[0]) if len(batch) == 1 else _about_several(builder)
        if len(builder.given) > len(batch) and rng.random() < 0.5:
            said = _about_several(builder)
        builder.add(_introduced(builder, said, batch), batch)
    wanted = len(builder.turns) + rng.randint(1, 3)
    for _ in range(_TRIES):
        if len(builder.turns) == wanted:
            break
        builder.add(_follow_up(builder))
    while missing := [name for name in job.names if name not in builder.told]:
        if not builder.add(listing(builder) if len(missing) > 1 else describe(builder, missing[0])):
            builder.add(describe(builder, rng.choice(missing)))
    return builder.draft()


def describe(builder: Builder, name: str) -> Said:
    """What one medium shows, or what is said in it."""
    main = builder.main(name)
    template = "transcribe" if main.kind == TRANSCRIPT else f"describe/{builder.medium(name).modality}"
    return Said(builder.say(template, it=builder.it(name)), sentence(main.text), template, (name,), whole=True)


def which(builder: Builder) -> Said | None:
    """Which of the media of one modality something is true of; only where it is true of no other."""
    name = builder.rng.choice(builder.given)
    rivals = [each for each in builder.given if each != name and each.split()[0] == name.split()[0]]
    meant = stems(builder.main(name).text)
    if not rivals or not meant or any(meant <= _known_stems(builder, each) for each in rivals):
        return None
    question = builder.say("which", noun=builder.noun(name), x=builder.text(name))
    return Said(question, builder.say("which/answer", it=builder.it(name)), "which")


def compare(builder: Builder) -> Said | None:
    """How two media of one modality differ."""
    pair = _pair(builder, lambda a, b: a.split()[0] == b.split()[0] and builder.text(a) != builder.text(b))
    return pair and _pair_said(builder, "compare", "compare/answer", *pair)


def common(builder: Builder) -> Said | None:
    """What two media have in common: the words that both are described with."""
    pair = _pair(builder, lambda a, b: True)
    if pair is None:
        return None
    words = [content_words(builder.text(name)) for name in pair]
    shared = sorted(words[0] & words[1])
    if shared:
        answer = "common/one" if len(shared) == 1 else "common/several"
        return _pair_said(builder, "common", answer, *pair, shared=listed(shared[:_SHARED_WORDS], builder.language))
    if stems(builder.text(pair[0])) & stems(builder.text(pair[1])):
        return None  # the same word in another form: nothing that one should call unrelated
    return _pair_said(builder, "common", "common/nothing", *pair)


def match(builder: Builder) -> Said | None:
    """Whether a sound goes with a picture; "no" only where both merely name a thing, else the words prove nothing."""
    pair = _pair(builder, lambda a, b: a.startswith("image") and b.startswith("audio"))
    if pair is None:
        return None
    words = [content_words(builder.text(name)) for name in pair]
    if words[0] & words[1]:
        return _pair_said(builder, "match", "match/yes", *pair)
    if all(_names_a_thing(builder.main(name)) for name in pair) and words[0] and words[1]:
        return _pair_said(builder, "match", "match/no", *pair)
    return None


def count(builder: Builder) -> Said:
    """How many media there were so far."""
    kinds = dict.fromkeys(name.split()[0] for name in builder.job.names)
    nouns = [
        builder.noun(next(name for name in builder.job.names if name.startswith(kind)), many=True) for kind in kinds
    ]
    question = builder.say("count", kinds=listed(nouns, builder.language))
    return Said(question, sentence(builder.counted(builder.given)), "count", whole=True)


def listing(builder: Builder) -> Said:
    """All media so far, in order."""
    answer = " ".join(sentence(f"{builder.it(name)}: {builder.text(name)}") for name in builder.given)
    return Said(builder.say("list"), answer, "list", tuple(builder.given), whole=True)


def translate(builder: Builder) -> Said | None:
    """What a medium shows, in the language that the question is not in; for mixed dialogs."""
    if builder.job.language != MIXED:
        return None
    name = builder.rng.choice(builder.given)
    wanted = builder.main(name, builder.other)
    template = f"translate/{'speech' if wanted.kind == TRANSCRIPT else builder.medium(name).modality}"
    return Said(builder.say(template, it=builder.it(name)), sentence(wanted.text), template, (name,))


def ask(builder: Builder) -> Said | None:
    """A question of the data about one of the media."""
    name = builder.rng.choice(builder.given)
    known = builder.medium(name).known(ANSWER, builder.language)
    if not known:
        return None
    chosen = builder.rng.choice(known)
    question = builder.say("about", it=builder.it(name), question=chosen.question)
    return Said(question, sentence(chosen.text), "about")


_SEVERAL: tuple[Callable[[Builder], Said | None], ...] = (compare, common, match, listing, common, match, compare)
_LATER: tuple[Callable[[Builder], Said | None], ...] = (which, compare, common, match, count, ask, translate, translate)


def _about_several(builder: Builder) -> Said:
    """A question about several of the media so far; the list, where no other has an answer."""
    for make in builder.rng.sample(_SEVERAL, len(_SEVERAL)):
        if said := make(builder):
            return said
    return listing(builder)


def _follow_up(builder: Builder) -> Said | None:
    for make in builder.rng.sample(_LATER, len(_LATER)):
        if said := make(builder):
            return said
    return None


def _introduced(builder: Builder, said: Said, batch: list[str]) -> Said:
    """Several media at once are announced now and then."""
    if len(batch) == 1 or builder.rng.random() < 0.5:
        return said
    question = builder.say("here", things=builder.counted(batch), question=said.question)
    return replace(said, question=question)


def _batches(names: list[str], rng: random.Random) -> list[list[str]]:
    layout = rng.randrange(3)
    first = len(names) if layout == 0 else 1 if layout == 1 else min(2, len(names))
    return [names[:first], *([name] for name in names[first:])]


def _pair(builder: Builder, fits: Callable[[str, str], bool]) -> tuple[str, str] | None:
    """Two media so far in their order (a picture before a sound where `fits` asks for it), None if none fit."""
    pairs = [(a, b) for a in builder.given for b in builder.given if a != b and fits(a, b)]
    ordered = [(a, b) for a, b in pairs if builder.given.index(a) < builder.given.index(b)] or pairs
    return builder.rng.choice(ordered) if ordered else None


def _pair_said(builder: Builder, question: str, answer: str, a: str, b: str, **values: str) -> Said:
    names = {"a": builder.it(a), "b": builder.it(b)}
    texts = {"x": builder.text(a), "y": builder.text(b)}
    said = builder.say(answer, **names, **texts, **values)
    return Said(builder.say(question, **names), said, question, (a, b), whole=True)


def _known_stems(builder: Builder, name: str) -> set[str]:
    known = [each.text for each in builder.medium(name).annotations if each.language == builder.language]
    return stems(" ".join(known))


def _names_a_thing(main: Annotation) -> bool:
    return main.kind in (NAME, TRANSCRIPT) and len(main.text.split()) <= _NAMING_WORDS
