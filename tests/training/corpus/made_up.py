"""A made-up corpus to compose conversations from: each medium's file name says what it shows or says."""

from __future__ import annotations

from pathlib import Path

from training.corpus import samples
from training.corpus.registry import Context
from training.corpus.words import DIGITS, WORDS

SEEN = ("dog", "cat", "car", "tree", "apple")


def one(source: str, task: str, language: str, name: str, label: str | None, answer: str) -> samples.Sample:
    part = samples.audio(f"media/{name}.wav") if source in ("speech", "sounds") else samples.image(f"media/{name}.png")
    return samples.sample(
        [samples.user(part), samples.answer(answer)],
        task=f"{source}/{task}", language=language, source=source, licence=f"L-{source}", label=label,
    )  # fmt: skip


def write_source(output: Path, source: str, task: str, names: tuple[str, ...]) -> Context:
    """English media of one source alone, each labelled with its name, for both splits."""
    (output / source).mkdir()
    for split in ("train", "test"):
        values = [one(source, task, "en", f"{split}-{name}", name, name) for name in names]
        samples.write(output / source / f"{split}.jsonl", values)
    return Context(output=output, cache=Path())


def write(output: Path) -> Context:
    """Media of every other source for both splits."""
    for split in ("train", "test"):
        content: dict[str, list[samples.Sample]] = {
            source: [] for source in ("scenes", "speech", "emoji", "stamps", "sounds")
        }
        for colour in ("red", "blue", "green"):
            content["scenes"].append(one("scenes", "colour", "en", f"{split}-{colour}", colour, colour))
        for shape in ("circle", "star"):
            content["scenes"].append(one("scenes", "shape", "en", f"{split}-{shape}", shape, shape))
        for name in SEEN:
            content["emoji"].append(one("emoji", "common", "en", f"{split}-{name}", name, name))
        for language in samples.LANGUAGES:
            for kind, table in (("words", WORDS), ("digits", DIGITS)):
                for text in table[language]:
                    file = f"{split}-{language}-{text}"
                    content["speech"].append(one("speech", f"{kind}-{language}", language, file, text, text))
        for animal in ("owl", "cow", "bee"):
            for source in ("stamps", "sounds"):
                for language, answer in (("en", animal), ("ms", f"{animal}ms")):
                    content[source].append(one(source, "name", language, f"{split}-{animal}", None, answer))
        for source, values in content.items():
            (output / source).mkdir(exist_ok=True)
            samples.write(output / source / f"{split}.jsonl", values)
    return Context(output=output, cache=Path())


def thing(url: str) -> str:
    """What a medium of the made-up corpus stands for: the end of its file name."""
    return url.rsplit("/", 1)[1].rsplit(".", 1)[0].split("-", 1)[1]
