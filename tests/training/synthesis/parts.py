"""A small world that is known well: samples about pictures and sounds, all with annotations, and jobs over them.

The media are files of a few bytes that nothing here decodes; what matters is which file is named where.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.data import MediaRef
from training.synthesis.annotations import Annotation, Medium
from training.synthesis.dialog import Dialog
from training.synthesis.jobs import Job

COCO = {
    "caption": ["A brown dog runs after a red ball.", "Two children play with a dog in a garden."],
    "captions": {"ms": "Seekor anjing mengejar bola merah."},
    "objects": [
        {"name": "dog", "box": [0.0, 0.5, 0.3, 0.9]},
        {"name": "ball", "box": [0.7, 0.7, 0.8, 0.8]},
        {"name": "child"},
        {"name": "child"},
    ],
    "questions": [
        {"question": "What colour is the ball?", "answer": "red"},
        {"question": "What season is it?", "answer": "summer", "rationale": "The children wear short trousers."},
    ],
}


def sample(name: str, url: str, question: str, answer: str, **meta: Any) -> dict[str, Any]:
    kind = "audio_url" if url.endswith(".wav") else "image_url"
    content = [{"type": kind, kind: {"url": url}}, *([{"type": "text", "text": question}] if question else [])]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"id": name, "messages": messages, "meta": meta}


def write(folder: Path, samples: Sequence[Mapping[str, Any]], name: str = "train.jsonl") -> Path:
    """A folder of a source, its media made as well."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in samples))
    for each in samples:
        for message in each["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else []:
                if part["type"] != "text":
                    path = folder / part[part["type"]]["url"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(path.name.encode())
    return folder


def world(folder: Path, pictures: int = 6, sounds: int = 6) -> Path:
    """One source: pictures with captions in both languages, spoken words, named sounds, and one of COCO's richness."""
    things = (("dog", "anjing"), ("cat", "kucing"), ("ship", "kapal"), ("tree", "pokok"), ("drum", "gendang"))
    colours = (("red", "merah"), ("blue", "biru"), ("green", "hijau"))
    samples = []
    for index in range(pictures):
        (thing, benda), (colour, warna) = things[index % len(things)], colours[index // len(things) % len(colours)]
        url = f"media/{index}.png"
        texts = (("en", f"a {colour} {thing} number {index}"), ("ms", f"{benda} {warna} nombor {index}"))
        for language, text in texts:
            meta = {"task": "toy/describe", "language": language, "licence": "CC0-1.0"}
            samples.append(sample(f"toy/{language}/{index}", url, "Describe it.", text, **meta))
        meta = {"task": "toy/colour", "language": "en"}
        samples.append(sample(f"toy/colour/{index}", url, "Which colour is it?", colour, **meta))
        meta["language"] = "ms"
        samples.append(sample(f"toy/warna/{index}", url, "Apakah warnanya?", warna, **meta))
    for index in range(sounds):
        thing, benda = things[index % len(things)]
        task, kind = ("speech/words", "said") if index % 2 else ("sounds/name", "noise")
        for language, text in (("en", thing), ("ms", benda)):
            meta = {"task": task, "language": language, "licence": "MIT"}
            question = "What do you hear?" if language == "en" else "Apakah yang anda dengar?"
            samples.append(sample(f"{kind}/{language}/{index}", f"media/{index}.wav", question, text, **meta))
    samples.append(sample("coco/0", "media/coco.png", "", "A dog chases a ball.", task="coco", **COCO))
    return write(folder, samples)


def medium(path: Path, *annotations: tuple[str, str], language: str = "en") -> Medium:
    """A medium with annotations of `(kind, text)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    modality = "audio" if path.suffix == ".wav" else "image"
    known = [Annotation(kind=kind, text=text, language=language, sample=path.stem) for kind, text in annotations]
    return Medium(reference=MediaRef(modality, path), annotations=known)


def job(folder: Path, kind: str = "relations", language: str = "en") -> Job:
    """A job over two pictures and a sound (relations), or over one picture."""
    media = [
        medium(folder / "a.png", ("caption", "a brown dog on a beach")),
        medium(folder / "b.png", ("caption", "two cats asleep")),
        medium(folder / "c.wav", ("transcript", "throw the stick")),
    ]
    chosen = tuple(media if kind == "relations" else media[:1])
    return Job(kind=kind, language=language, media=chosen, seed=0, generator="test")


def dialog(*turns: tuple[Sequence[str], str, str]) -> Dialog:
    return Dialog.model_validate(
        {"turns": [{"media": list(media), "question": question, "answer": answer} for media, question, answer in turns]}
    )


GOOD = dialog(
    (["image 1", "image 2"], "How do the two pictures differ?", "One shows a dog on a beach, the other sleeping cats."),
    (["audio 1"], "To whom in the first picture might the speaker talk?", "To the dog, who is to fetch the stick."),
)
