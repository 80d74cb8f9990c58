"""A tiny corpus and a tiny recipe: drawn pictures, synthetic tones, random frozen parts, all made by the real code."""

import json
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from model.sources import sha256_of
from tests.support.tiny import ENCODERS, build_llm, write_encoder

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 210)}
PITCHES = {"low": 220.0, "high": 2200.0}
Change = Callable[[dict[str, Any]], None]
"""Of the values of a recipe."""


def write_json_lines(path: Path, samples: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def audio(url: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def sample(name: str, *turns: tuple[list[dict[str, Any]] | str, str], **meta: str) -> dict[str, Any]:
    messages = []
    for content, answer in turns:
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"id": name, "messages": messages, "meta": meta}


def draw(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """A noisy picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 20, (32, 32, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)


def play(path: Path, pitch: float, seed: int, seconds: float = 0.2) -> None:
    """A noisy tone as 16-bit WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16_000 * seconds)) / 16_000
    samples = 0.4 * np.sin(2 * np.pi * pitch * time) + 0.02 * np.random.default_rng(seed).standard_normal(len(time))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes())


def write_corpus(folder: Path, each: int = 8) -> Path:
    """Sources `scenes` (colours), `tones` (pitches) and `dialogs` (both at once), `each` media per class."""
    scenes, tones, dialogs = [], [], []
    for index in range(each):
        for number, (name, colour) in enumerate(COLOURS.items()):
            url = f"media/{name}-{index}.png"
            draw(folder / "scenes" / url, colour, 10 * index + number)
            turn = ([image(url), text("Which colour?")], name)
            scenes.append(sample(f"scenes/{len(scenes)}", turn, task="scenes/colour", label=name))
        for number, (name, pitch) in enumerate(PITCHES.items()):
            url = f"media/{name}-{index}.wav"
            play(folder / "tones" / url, pitch * (1 + 0.01 * index), 10 * index + number)
            turn = ([text("Which tone?"), audio(url)], name)
            tones.append(sample(f"tones/{len(tones)}", turn, task="tones/pitch", label=name))
        pair = [image(f"../scenes/media/red-{index}.png"), audio(f"../tones/media/low-{index}.wav")]
        dialogs.append(sample(f"dialogs/{index}", ([*pair, text("Both?")], "red and low"), task="dialogs/both"))
    for name, samples in (("scenes", scenes), ("tones", tones), ("dialogs", dialogs)):
        write_json_lines(folder / name / "train.jsonl", samples)
    return folder


def write_parts(folder: Path, *, image_encoder: Mapping[str, Any] = ENCODERS["clip"]) -> Path:
    """Random frozen parts, `llm/`, `image.safetensors` and `audio.safetensors`, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build_llm(folder / "llm")
        write_encoder(folder / "image.safetensors", image_encoder)
        write_encoder(folder / "audio.safetensors", ENCODERS["whisper"])
    return folder


def recipe_values(parts: Path) -> dict[str, Any]:
    """The decoded recipe of a tiny model over `write_corpus`; change what a test is about."""
    projector = {"type": "mlp", "tokens": 2, "activation": "softmax", "residual": True, "residual_rank": 8}
    return {
        "llm": {"source": "file:llm", "sha256": sha256_of(parts / "llm")},
        "modalities": {
            "image": {
                "source": "file:image.safetensors",
                "sha256": sha256_of(parts / "image.safetensors"),
                "encoder": dict(ENCODERS["clip"]),
                "projector": dict(projector),
                "initialisation": {"type": "names", "concepts": [{"tasks": ["scenes/colour"]}]},
            },
            "audio": {
                "source": "file:audio.safetensors",
                "sha256": sha256_of(parts / "audio.safetensors"),
                "encoder": dict(ENCODERS["whisper"]),
                "projector": dict(projector),
                "initialisation": {"type": "names", "concepts": [{"tasks": ["tones/pitch"], "slot": 1}]},
            },
        },
        "stages": [
            {
                "name": "align",
                "learning_rates": {"projectors.*.second.*": 0.01, "projectors.*.residual.*": 0.01},
                "max_length": 128,
                "batch_tokens": 160,
                "data": [
                    {"source": "scenes", "passes": 4, "turns": 2},
                    {"source": "tones", "passes": 4, "turns": 2},
                    {"source": "dialogs", "passes": 2},
                ],
            }
        ],
        "dtype": "float32",
        "seed": 0,
    }


def write_recipe(path: Path, values: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(values)))
    return path


def stage(**fields: Any) -> Change:
    """Other fields in the first stage."""

    def change(values: dict[str, Any]) -> None:
        values["stages"][0].update(fields)

    return change
