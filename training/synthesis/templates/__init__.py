"""The offline generator: dialogs from templates, without any language model.

It says nothing but what the annotations say, in sentences that are written down in `phrases.py`; so it invents nothing,
and cannot put things in other words either. The same job always gives the same dialog.
"""

import random
from collections.abc import Callable

from training.synthesis.annotations import Medium
from training.synthesis.dialog import Draft
from training.synthesis.jobs import Job
from training.synthesis.languages import LANGUAGES, MIXED
from training.synthesis.templates import single
from training.synthesis.templates.phrases import VERSION
from training.synthesis.templates.relations import relations

_MAKERS: dict[str, Callable[[Job, random.Random], Draft]] = {
    "relations": relations,
    "merge": single.merge,
    "conversation": single.conversation,
    "description": single.description,
    "reasoning": single.reasoning,
}
# A description is more than its caption.
_SENTENCES = 2


class Templates:
    """Makes dialogs from templates."""

    model: str | None = None
    attempts = 1

    def version(self, kind: str) -> str:
        """Of the phrases."""
        return f"templates:{VERSION}"

    def instruction(self, kind: str) -> str:
        """There is none that could leak."""
        return ""

    def usable(self, kind: str, medium: Medium, language: str) -> bool:
        """Whether enough is known of a medium in the language; in both for mixed dialogs."""
        if language == MIXED:
            # One turn has no place for two languages.
            return kind in ("relations", "merge", "conversation") and all(
                medium.main(each) and self.usable(kind, medium, each) for each in LANGUAGES
            )
        if kind == "relations":
            return medium.main(language) is not None
        if kind == "merge":
            return single.kinds_known(medium, language) >= 2
        if kind == "conversation":
            return single.turns_known(medium, language) >= 2
        if kind == "description":
            return len(single.facts_known(medium, language)) >= _SENTENCES
        return single.reasons_known(medium, language) > 0

    async def draft(self, job: Job, attempt: int) -> Draft:
        """The dialog of a job."""
        return _MAKERS[job.kind](job, job.rng("words"))
