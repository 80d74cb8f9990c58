"""Held-out samples for the tests of evaluation: drawn pictures and tones, on which any probe is right."""

import json
from pathlib import Path
from typing import Any

from tests.training.parts import COLOURS, PITCHES, audio, draw, image, play, sample, text, write_json_lines


def write_test_corpus(folder: Path, each: int = 4) -> Path:
    """Sources `scenes`, `tones`, `dialogs` (two turns, both media) and `plain` (no media), train and test."""
    for split, offset in (("train", 0), ("test", 100)):
        scenes, tones, dialogs = [], [], []
        for index in range(each):
            for number, (name, colour) in enumerate(COLOURS.items()):
                url = f"media/{split}-{name}-{index}.png"
                draw(folder / "scenes" / url, colour, offset + 10 * index + number)
                turn = ([image(url), text("Which colour?")], name)
                meta = {"task": "scenes/colour", "label": name, "language": "en"}
                scenes.append(sample(f"scenes/{split}/{len(scenes)}", turn, **meta))
            for number, (name, pitch) in enumerate(PITCHES.items()):
                url = f"media/{split}-{name}-{index}.wav"
                play(folder / "tones" / url, pitch * (1 + 0.01 * index), offset + 10 * index + number)
                turn = ([text("Nada apa?"), audio(url)], name)
                meta = {"task": "tones/pitch", "label": name, "language": "ms"}
                tones.append(sample(f"tones/{split}/{len(tones)}", turn, **meta))
            colour_turn = ([image(f"../scenes/media/{split}-red-{index}.png"), text("Colour?")], "red")
            pitch_turn = ([audio(f"../tones/media/{split}-low-{index}.wav"), text("Pitch?")], "low")
            dialogs.append(sample(f"dialogs/{split}/{index}", colour_turn, pitch_turn, task="dialogs/turns"))
        plain = [sample(f"plain/{split}/{i}", (f"Say {i}", str(i)), task="plain/say") for i in range(2)]
        for name, samples in (("scenes", scenes), ("tones", tones), ("dialogs", dialogs), ("plain", plain)):
            write_json_lines(folder / name / f"{split}.jsonl", samples)
    return folder


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
