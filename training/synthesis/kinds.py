"""The kinds of dialogs, which paper each comes from, and the sizes that are accepted."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Smallest and largest sizes of a dialog; anything else is dropped."""

    turns: tuple[int, int]
    question_words: tuple[int, int] = (1, 120)
    answer_words: tuple[int, int] = (1, 300)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of dialog."""

    name: str
    source: str
    several_media: bool
    limits: Limits


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="relations",
            source="MMMModal (arXiv 2402.11297): what several images and sounds have to do with each other",
            several_media=True,
            limits=Limits(turns=(2, 16)),
        ),
        Kind(
            name="merge",
            source="UniMM-Chat of Muffin (arXiv 2310.00653): complementary annotations of one medium in one dialog",
            several_media=False,
            limits=Limits(turns=(2, 20)),
        ),
        Kind(
            name="conversation",
            source="LLaVA (arXiv 2304.08485), conversation: questions about what is seen or heard",
            several_media=False,
            limits=Limits(turns=(2, 12)),
        ),
        Kind(
            name="description",
            source="LLaVA (arXiv 2304.08485), detailed description",
            several_media=False,
            limits=Limits(turns=(1, 1), answer_words=(8, 600)),
        ),
        Kind(
            name="reasoning",
            source="LLaVA (arXiv 2304.08485), complex reasoning: an answer with its reasons",
            several_media=False,
            limits=Limits(turns=(1, 2), answer_words=(6, 600)),
        ),
    )
}
