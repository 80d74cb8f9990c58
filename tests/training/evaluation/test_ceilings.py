"""What a linear probe is fitted on."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tests.training.parts import image, sample, text, write_json_lines
from training.data import MediaRef, read_samples
from training.evaluation.ceilings import ceilings

FEATURES = {"red": [1.0, 0.0], "blue": [0.0, 1.0]}


def test_a_medium_that_is_asked_about_twice_is_one(tmp_path: Path) -> None:
    def asked(name: str, question: str) -> dict[str, object]:
        label = name.split("-")[0]
        turn = ([image(f"media/{name}.png"), text(question)], label)
        return sample(f"{name}/{question}", turn, task="scenes/colour", label=label)

    names = ("red-0", "red-1", "blue-0", "blue-1")
    (tmp_path / "scenes" / "media").mkdir(parents=True)
    for name in names:
        (tmp_path / "scenes" / "media" / f"{name}.png").touch()
    path = tmp_path / "scenes" / "train.jsonl"
    write_json_lines(path, [asked(name, question) for name in names for question in ("Which?", "Apakah?")])
    given: list[list[str]] = []

    def pool(modality: str, references: Sequence[MediaRef]) -> Tensor:
        given.append([reference.path.stem for reference in references])
        return torch.tensor([FEATURES[reference.path.stem.split("-")[0]] for reference in references])

    samples = read_samples(path)
    assert len(samples) == 8
    assert ceilings({"scenes/colour": samples}, tmp_path, pool) == {"scenes/colour": 1.0}
    assert sorted(given[0]) == sorted(names), "to fit"
    assert len(given[1]) == 8, "to be judged, every sample counts"
