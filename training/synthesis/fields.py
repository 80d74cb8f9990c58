"""Annotations in the `meta` of a sample, for what public data sets hold beside one answer.

    "meta": {"caption": "two dogs",                       a text, or a list of texts
             "captions": {"en": [...], "ms": "..."},      the same by language
             "transcript": "turn it up",                  a text, a list, or by language; `transcripts` too
             "objects": [{"name": "dog", "box": [0.1, 0.2, 0.5, 0.9]}],      boxes as fractions, optional
             "questions": [{"question": "...", "answer": "...", "rationale": "..."}]}     rationale optional

Boxes are left, top, right, bottom as fractions of the picture's width and height. Other keys of `meta` are not read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import DataError
from training.data import Sample
from training.synthesis.annotations import ANSWER, CAPTION, OBJECT, TRANSCRIPT, Annotation, Box
from training.synthesis.languages import LANGUAGES

_TEXT_FIELDS = {"caption": CAPTION, "captions": CAPTION, "transcript": TRANSCRIPT, "transcripts": TRANSCRIPT}


def language_of(sample: Sample) -> str:
    """The language that a sample says it is in, English where it says nothing."""
    return str(sample.meta.get("language", "en"))


def annotations_in(sample: Sample) -> list[Annotation]:
    """What the `meta` of a sample says of its medium.

    Raises:
        DataError: a field that is not as described above, by its path in the line.
    """
    language = language_of(sample)

    def annotation(kind: str, text: str, language: str = language, **rest: Any) -> Annotation:
        return Annotation(kind=kind, text=text, language=language, sample=sample.id, task=sample.task, **rest)

    found = []
    for name, kind in _TEXT_FIELDS.items():
        if name in sample.meta:
            texts = _texts(f"meta.{name}", sample.meta[name], language)
            found += [annotation(kind, text, spoken) for spoken, text in texts]
    for where, values in _items(sample.meta, "objects", {"name", "box"}, {"name"}):
        found.append(annotation(OBJECT, _text(f"{where}.name", values["name"]), box=_box(f"{where}.box", values)))
    for where, values in _items(sample.meta, "questions", {"question", "answer", "rationale"}, {"question", "answer"}):
        texts_of = {key: _text(f"{where}.{key}", text) for key, text in values.items()}
        found.append(annotation(ANSWER, texts_of.pop("answer"), **texts_of))
    return found


def _texts(where: str, value: object, language: str) -> Iterator[tuple[str, str]]:
    """`(language, text)` of a text, a list of texts, or a mapping from languages to either."""
    if isinstance(value, Mapping):
        for spoken, each in value.items():
            if spoken not in LANGUAGES:
                raise DataError(f"{where}: {spoken!r} is not one of {', '.join(LANGUAGES)}")
            yield from _texts(f"{where}.{spoken}", each, spoken)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield language, _text(f"{where}[{index}]", each)
    else:
        yield language, _text(where, value)


def _items(
    meta: Mapping[str, Any], name: str, known: set[str], needed: set[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    values = meta.get(name, [])
    if not isinstance(values, list):
        raise DataError(f"meta.{name}: expected a list of objects, got {type(values).__name__}")
    for index, each in enumerate(values):
        where = f"meta.{name}[{index}]"
        if not isinstance(each, Mapping) or not needed <= set(each) or set(each) - known:
            raise DataError(f"{where}: expected an object with {', '.join(sorted(known))}; got {str(each)[:80]}")
        yield where, each


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: expected a text that is not empty, got {str(value)[:80]!r}")
    return value.strip()


def _box(where: str, values: Mapping[str, Any]) -> Box | None:
    box = values.get("box")
    if box is None:
        return None
    numbers = isinstance(box, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in box)
    if not numbers or len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise DataError(
            f"{where}: expected [left, top, right, bottom] as fractions from 0 to 1 of the width and height, "
            f"got {str(box)[:80]}"
        )
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])
