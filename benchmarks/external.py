"""Make an evaluation corpus from real photographs and human voices that the training corpora do not contain.

    git clone https://github.com/EliSchwartz/imagenet-sample-images photos        # one photograph per ImageNet class
    git clone https://github.com/Jakobovski/free-spoken-digit-dataset voices      # 3000 recordings, CC BY-SA 4.0
    python benchmarks/external.py photos voices/recordings external
    quartet eval CHECKPOINT --corpus external --probes corpus --output results

Photographs are JPEG files whose sorted names follow the class order (`n01440764_tench.JPEG`); recordings are WAV files
whose names begin with the digit (`7_jackson_32.wav`). The files stay where they are. The ceiling of the photographs is
the encoder's own class head, printed here; that of the voices is a linear probe on synthetic speech (`--probes`).
"""

import argparse
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import Checkpoint
from model.media import decode_image
from model.sources import Source, fetch
from training.concepts import read_names
from training.recipe import RECIPES

NAME_QUESTIONS = ("What is in the picture?", "What is this?", "What do you see?")
DIGIT_QUESTIONS = ("Which number is said?", "What is said?", "What number do you hear?")
WHICH = ("the first", "the second")
PAIRS = 200
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def sample(
    name: str, modality: str, urls: list[str], question: str, answer: str, meta: dict[str, str]
) -> dict[str, Any]:  # fmt: skip
    """One question about media of one modality."""
    media = [{"type": f"{modality}_url", f"{modality}_url": {"url": url}} for url in urls]
    user = {"role": "user", "content": [*media, {"type": "text", "text": question}]}
    return {"id": name, "messages": [user, {"role": "assistant", "content": answer}], "meta": meta}


def relative(path: Path, output: Path) -> str:
    """How a sample in `output` names a file."""
    return os.path.relpath(path.resolve(), output.resolve())


def photographs(folder: Path, output: Path) -> Iterator[dict[str, Any]]:
    """One sample per class, in the order of the class head."""
    names = read_names(RECIPES / "imagenet.txt")
    for index, (path, name) in enumerate(zip(sorted(folder.glob("*.JPEG")), names, strict=True)):
        question = NAME_QUESTIONS[index % len(NAME_QUESTIONS)]
        meta = {"task": "photographs/name", "language": "en"}
        yield sample(f"photograph-{index}", "image", [relative(path, output)], question, name, meta)


def pairs(folder: Path, output: Path) -> Iterator[dict[str, Any]]:
    """Which of two photographs of different classes shows the one; as often the first as the second."""
    names, paths = read_names(RECIPES / "imagenet.txt"), sorted(folder.glob("*.JPEG"))
    generator = random.Random(0)
    for index in range(PAIRS):
        both = generator.sample(range(len(names)), 2)
        name = names[both[index % 2]]
        question = f"Which of the two pictures shows {'an' if name[0].lower() in 'aeiou' else 'a'} {name}?"
        meta = {"task": "photographs/which-picture", "language": "en"}
        urls = [relative(paths[place], output) for place in both]
        yield sample(f"photographs-{index}", "image", urls, question, WHICH[index % 2], meta)


def voices(folder: Path, output: Path) -> Iterator[dict[str, Any]]:
    """Every third recording."""
    for index, path in enumerate(sorted(folder.glob("*.wav"))[::3]):
        digit = DIGITS[int(path.name[0])]
        question = DIGIT_QUESTIONS[index % len(DIGIT_QUESTIONS)]
        meta = {"task": "voices/digits", "language": "en", "label": digit, "probe": "speech/digits-en"}
        yield sample(f"voice-{index}", "audio", [relative(path, output)], question, digit, meta)


def head_accuracy(checkpoint: Checkpoint, folder: Path) -> float:
    """Share of the photographs that the encoder's own class head names."""
    config = checkpoint.config.modality_specs["image"].encoder
    part = checkpoint.provenance.encoders["image"]
    head = config.classifier(fetch(Source.parse(part.source), sha256=part.sha256))
    assert head is not None, "this encoder has no classes of its own"
    encoder = config.build().eval()
    encoder.load_state_dict(checkpoint.encoder_state("image"), strict=False)
    right = 0
    paths = sorted(folder.glob("*.JPEG"))
    for index, path in enumerate(paths):
        with torch.inference_mode():
            features = encoder(config.preprocess(decode_image(path.read_bytes()))[None])[0, 0]
        right += int((head[0] @ features + head[1]).argmax()) == index
    return right / len(paths)


def main() -> None:
    """Write `<output>/{photographs,pairs,voices}/test.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("voices", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=Path("model/demo"), help="whose encoder's head is measured")
    arguments = parser.parse_args()
    for name, make, media in (
        ("photographs", photographs, arguments.photographs),
        ("pairs", pairs, arguments.photographs),
        ("voices", voices, arguments.voices),
    ):
        folder = arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        samples = list(make(media, folder))
        (folder / "test.jsonl").write_text("".join(json.dumps(value) + "\n" for value in samples))
        print(f"{name}: {len(samples)} samples")
    accuracy = head_accuracy(Checkpoint.open(arguments.checkpoint), arguments.photographs)
    print(f"photographs: the encoder's own head names {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
