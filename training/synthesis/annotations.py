"""What may be known of a medium: captions, transcripts, names, objects with boxes, questions with answers."""

from dataclasses import dataclass, field

from training.data import MediaRef

CAPTION, TRANSCRIPT, NAME, ANSWER, OBJECT = KINDS = ("caption", "transcript", "name", "answer", "object")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One thing that is known of a medium."""

    kind: str
    text: str
    """The caption, transcript, name, answer, or name of the object."""
    language: str
    sample: str
    """Id of the sample it comes from."""
    task: str = "default"
    question: str = ""
    """Of an answer."""
    rationale: str = ""
    """Why the answer is what it is, where known."""
    box: Box | None = None
    """Where the object is: left, top, right, bottom as fractions of the width and height."""


@dataclass(kw_only=True)
class Medium:
    """One medium and all that is known of it."""

    reference: MediaRef
    annotations: list[Annotation] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)

    @property
    def modality(self) -> str:
        """`image` or `audio`."""
        return self.reference.modality

    def known(self, kind: str, language: str | None = None) -> list[Annotation]:
        """The annotations of a kind, of one language or of all."""
        return [each for each in self.annotations if each.kind == kind and language in (None, each.language)]

    def main(self, language: str) -> Annotation | None:
        """What says best what the medium is: its caption, else its transcript, else its name."""
        kinds = (CAPTION, TRANSCRIPT, NAME)
        return next((each for kind in kinds for each in self.known(kind, language)), None)
