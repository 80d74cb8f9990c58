"""What tests of checkpoints and assemblies share: a chat with media, its features, ways to damage a checkpoint."""

import json
from pathlib import Path

import torch

from model.media import Sound
from model.sources import sha256_of
from tests.support.tiny import picture, sound

CHAT = [
    {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "and"}, {"type": "audio_url"}]},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": [{"type": "text", "text": "then"}, {"type": "image_url"}]},
]


def features(model, seed=0):
    specs = model.config.modality_specs
    media = {"image": [picture(seed), picture(seed + 1)], "audio": [Sound(sound(seed), 16_000)]}
    return {
        name: torch.stack(model.encode(name, specs[name].encoder.preprocess_many(items)))
        for name, items in media.items()
    }


def edit(path: Path, change) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def record_hash(directory: Path, part: str, path: Path) -> None:
    """Accept what lies at `path` as the recorded weights."""

    def change(values):
        entry = values["llm"] if part == "llm" else values["encoders"][part]
        entry["sha256"] = sha256_of(path)

    edit(directory / "provenance.json", change)
