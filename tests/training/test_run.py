"""From a recipe and a corpus to a checkpoint: what comes out, and that a run can be stopped and continued."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model.assembly import assemble
from model.checkpoint import Checkpoint
from model.encoders import EncoderConfig
from model.errors import ConfigurationError
from model.llm import load_llm
from model.prompt import Prompt
from tests.support.tiny import ENCODERS
from tests.training.parts import image, recipe_values, sample, stage, text, write_json_lines, write_parts, write_recipe
from training import parts as parts_module
from training import run as run_module
from training.data import read_samples
from training.dataset import Collator, encode_row
from training.noise import ConceptNoise
from training.parts import open_cache
from training.recipe import Recipe, read_recipe
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def trained(
    recipe_of: Callable[..., Recipe], corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Output folder of an uninterrupted run."""
    output = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        run(recipe_of(), corpus, output, command="quartet train tiny")
    return output


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "checkpoint" / "projectors.safetensors")


def log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def entries(output: Path) -> list[tuple[int, float]]:
    return [(entry["step"], entry["loss"]) for entry in log(output) if "loss" in entry]


def test_the_checkpoint_is_served_as_it_is(trained: Path, parts: Path) -> None:
    checkpoint = Checkpoint.open(trained / "checkpoint")
    assert checkpoint.provenance.llm.source == f"file:{parts / 'llm'}"
    assert checkpoint.provenance.training["command"] == "quartet train tiny"
    assert checkpoint.provenance.training["samples"] == {"align/scenes": 96, "align/tones": 64, "align/dialogs": 16}
    assert checkpoint.provenance.training["media"] == {"image": 24, "audio": 16}
    assert checkpoint.config.modalities["image"]["projector"]["groups"] == [3], "three colours, no other pictures"
    checkpoint.load()
    assembled = assemble(trained / "checkpoint")
    assert {path.name for path in assembled.iterdir()} >= {
        "config.json",
        "encoders.safetensors",
        "projectors.safetensors",
        "tokenizer_config.json",
    }


def test_it_has_learned_what_it_was_shown(trained: Path, corpus: Path) -> None:
    losses = entries(trained)
    assert losses[-1][1] < 0.9 * losses[0][1]
    checkpoint = Checkpoint.open(trained / "checkpoint")
    model, prompt = checkpoint.load(), Prompt(checkpoint.tokenizer(), checkpoint.config)
    caches = {
        name: open_cache(values["encoder"], checkpoint.provenance.encoders[name].sha256)
        for name, values in checkpoint.config.modalities.items()
    }
    rows = [encode_row(prompt, s) for s in read_samples(corpus / "scenes" / "train.jsonl")]
    collate = Collator(checkpoint.config, caches, [128], pad=0)
    with torch.no_grad():
        right = float(model(**collate(rows)).loss)
        # Another picture's features: a third of them show the same colour.
        batch = collate(rows)
        batch["features"]["image"] = batch["features"]["image"].roll(1, 0)
        wrong = float(model(**batch).loss)
    assert right < wrong


def test_text_only_logits_are_the_language_models_own(trained: Path, parts: Path) -> None:
    checkpoint = Checkpoint.open(trained / "checkpoint")
    model, llm = checkpoint.load(), load_llm(parts / "llm", torch.float32)
    prompt = Prompt(checkpoint.tokenizer(), checkpoint.config)
    ids = torch.tensor([prompt.encode([{"role": "user", "content": "Which colour?"}])])
    with torch.no_grad():
        ours, own = model(ids).logits, llm(ids).logits
    assert torch.equal(ours[..., : own.shape[-1]], own)


def test_a_shared_prefix_changes_nothing_but_the_time(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = []
    make = Collator.__init__

    def watched(self: Collator, *args: Any, prefix: int = 0, **others: Any) -> None:
        prefixes.append(prefix)
        make(self, *args, prefix=prefix, **others)

    monkeypatch.setattr(Collator, "__init__", watched)
    monkeypatch.setattr(run_module, "WORTH_SHARING", 1)
    run(recipe_of(stage(steps=4)), corpus, tmp_path / "shared", logging_steps=1)
    monkeypatch.setattr(run_module, "WORTH_SHARING", 1 << 20)
    run(recipe_of(stage(steps=4)), corpus, tmp_path / "plain", logging_steps=1)
    assert prefixes[0] > 0
    assert prefixes[-1] == 0
    losses = [[loss for _, loss in entries(tmp_path / name)] for name in ("shared", "plain")]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("noise", [True, {}], ids=["yes", "as the groups say"])
def test_a_group_with_noise_is_told_what_is_asked_of_each_medium(
    recipe_of: Callable[..., Recipe],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    noise: bool | dict[str, float],
) -> None:
    recipe = recipe_of(stage(steps=2))
    (first,) = recipe.stages
    # A stage without noise before and after: what was asked in one must not be taken for what is asked in the next.
    recipe = replace(
        recipe, stages=[replace(first, name=name, noise=name == "noisy" and noise) for name in ("a", "noisy", "b")]
    )
    start = recipe.modalities["image"].initialisation
    noisy = replace(start, concepts=[replace(concepts, noise=0.5) for concepts in start.concepts])
    modalities = {**recipe.modalities, "image": replace(recipe.modalities["image"], initialisation=noisy)}
    told: list[tuple[bool, set[int] | None]] = []

    def watched(self: ConceptNoise, module: nn.Module, _: object, probabilities: torch.Tensor) -> None:
        assert self.asked is None or len(self.asked) == len(probabilities)
        told.append((module.training, None if self.asked is None else set(self.asked.tolist())))

    monkeypatch.setattr(ConceptNoise, "_disturb", watched)
    run(replace(recipe, modalities=modalities), corpus, tmp_path / "run")
    assert {training for training, _ in told} == {True}
    stages = [
        list(members) for _, members in groupby((groups for _, groups in told), key=lambda groups: groups is None)
    ]
    assert len(stages) == 3
    assert stages[0][0] is stages[2][0] is None
    assert any(0 in (groups or ()) for groups in stages[1]), "the colour of a scene is asked of the group of colours"


def test_a_stage_has_the_noise_it_asks_for(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(values: dict[str, Any]) -> None:
        first = values["stages"][0] | {"steps": 1}
        noises = {"a": True, "b": {"scenes/colour": 0.5}, "c": False}
        values["stages"] = [{**first, "name": name, "noise": noise} for name, noise in noises.items()]

    shares: list[Sequence[float]] = []
    monkeypatch.setattr(ConceptNoise, "set_shares", lambda self, given: shares.append(given))
    run(recipe_of(change), corpus, tmp_path / "run")
    assert shares == [[0.0], [0.5], [0.0]], "of the pictures' projector: only there a stage asks for noise"


def test_it_is_reported_what_was_done(trained: Path) -> None:
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    report = (trained / "report.md").read_text()
    assert "    quartet train tiny\n" in report
    assert "| align | scenes | 96 |" in report
    assert "Different media: 16 audio, 24 image." in report
    assert "## Left out\n\nNothing." in report
    assert list((trained / "tensorboard" / "align").iterdir())
    assert [step for step, _ in entries(trained)][:2] == [10, 20]
    assert all(entry["stage"] == "align" for entry in log(trained))


def test_a_run_that_was_stopped_continues_to_the_same_weights(
    recipe_of: Callable[..., Recipe], corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    original, calls = run_module.Collator.__call__, 0

    def stop(self: Any, rows: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 18:
            raise KeyboardInterrupt
        return original(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(run_module.Collator, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe_of(stage(save_steps=10)), corpus, output)
    assert not (output / "checkpoint").exists()
    # A step that was being written when the machine went down.
    (output / "stage-align" / "checkpoint-16").mkdir()
    run(recipe_of(stage(save_steps=10)), corpus, output, resume=True)
    assert entries(output) == entries(trained), "not one bit of the loss differs"
    assert all(torch.equal(tensor, weights(trained)[name]) for name, tensor in weights(output).items())
    # Once it is finished, there is nothing left to do but to write the same checkpoint.
    shutil.rmtree(output / "checkpoint")
    run(recipe_of(stage(save_steps=10)), corpus, output, resume=True)
    assert entries(output) == entries(trained)
    assert all(torch.equal(tensor, weights(trained)[name]) for name, tensor in weights(output).items())


def test_the_result_does_not_depend_on_what_was_cached(
    recipe_of: Callable[..., Recipe], corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "empty"))
    run(recipe_of(), corpus, tmp_path / "run")
    assert all(torch.equal(tensor, weights(trained)[name]) for name, tensor in weights(tmp_path / "run").items())


def test_an_earlier_run_is_not_overwritten_nor_continued_with_another_recipe(
    recipe_of: Callable[..., Recipe], corpus: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"checkpoint-\d+ is of an earlier run: continue it with --resume"):
        run(recipe_of(), corpus, trained)

    def other(values: dict[str, Any]) -> None:
        values["seed"] = 1

    with pytest.raises(
        ConfigurationError, match=r"run\.json: the run was started with another recipe \(recipe\.seed: 0, now 1\)"
    ):
        run(recipe_of(other), corpus, trained, resume=True)
    changed = tmp_path / "corpus"
    shutil.copytree(corpus, changed)
    path = changed / "tones" / "train.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ConfigurationError, match=r"run\.json: the run was started with another samples"):
        run(recipe_of(), changed, trained, resume=True)


def test_an_encoder_sees_each_medium_once_however_often_it_is_trained_on(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "empty"))
    seen: Counter[str] = Counter()
    build = parts_module.build_encoder

    def counting(config: EncoderConfig, state: Any) -> Any:
        module = build(config, state)
        module.register_forward_hook(lambda _, given, __: seen.update({config.modality: len(given[0])}))
        return module

    monkeypatch.setattr(parts_module, "build_encoder", counting)
    for name in ("first", "second"):
        run(recipe_of(stage(epochs=2)), corpus, tmp_path / name)
        assert seen == {"image": 24, "audio": 16}


def test_stages_follow_each_other(recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path) -> None:
    def two(values: dict[str, Any]) -> None:
        first = values["stages"][0]
        first["data"] = [{"source": "scenes", "passes": 2}]
        second = deepcopy(first)
        second |= {"name": "tune", "learning_rates": {"projectors.audio.*": 0.005}, "data": [{"source": "tones"}]}
        values["stages"].append(second)

    output = tmp_path / "run"
    run(recipe_of(two), corpus, output)
    assert list(dict.fromkeys(entry["stage"] for entry in log(output))) == ["align", "tune"]
    first = load_file(next((output / "stage-align").glob("checkpoint-*")) / "trained.safetensors")
    final = {f"projectors.{name}": tensor for name, tensor in weights(output).items()}
    assert torch.equal(first["projectors.image.second.weight"].half(), final["projectors.image.second.weight"])
    assert not torch.equal(first["projectors.audio.second.weight"].half(), final["projectors.audio.second.weight"])


def test_stages_on_the_same_rows_share_them(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(stage(steps=1))
    (first,) = recipe.stages
    others = (replace(first, name="tune", noise=False), replace(first, name="short", max_length=first.max_length - 8))
    rows: list[object] = []
    make = run_module.train_stage

    def watched(model: Any, stage: Any, data: object, *args: Any, **settings: Any) -> list[dict[str, Any]]:
        rows.append(data)
        return make(model, stage, data, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "train_stage", watched)
    run(replace(recipe, stages=[first, *others]), corpus, tmp_path / "run")
    assert rows[0] is rows[1]
    assert rows[2] is not rows[0]
    samples = Checkpoint.open(tmp_path / "run" / "checkpoint").provenance.training["samples"]
    assert samples["align/scenes"] == samples["tune/scenes"]


@pytest.mark.parametrize("kind", ["random", "ridge"])
def test_other_starts_and_projectors(recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, kind: str) -> None:
    def plain(values: dict[str, Any]) -> None:
        for modality in values["modalities"].values():
            modality |= {"projector": {"type": "mlp", "tokens": 2}, "initialisation": {"type": kind}}
        values["stages"][0] |= {
            "learning_rates": {"projectors.*": 0.003},
            "data": [{"source": "scenes"}, {"source": "tones"}],
        }

    run(recipe_of(plain), corpus, tmp_path / "run")
    assert Checkpoint.open(tmp_path / "run" / "checkpoint").load()


def test_synthetic_features_teach_the_names_of_the_encoders_own_classes(
    corpus: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = write_parts(tmp_path_factory.mktemp("efficientnet"), image_encoder=ENCODERS["efficientnet"])
    head = torch.randn(6, 1280, generator=torch.Generator().manual_seed(0)) / 40
    path = parts / "image.safetensors"
    save_file({**load_file(path), "_fc.weight": head, "_fc.bias": torch.zeros(6)}, path)
    (parts / "names.txt").write_text("owl\ncrow\nduck\nhen\nlark\nswan\n")
    values = recipe_values(parts)
    del values["modalities"]["audio"]
    values["modalities"]["image"]["encoder"] = ENCODERS["efficientnet"]
    start = values["modalities"]["image"]["initialisation"]
    start["concepts"] = [{"names": "names.txt", "per_class": 10, "sharpness": 2.0}, {"tasks": ["scenes/colour"]}]
    values["stages"][0]["data"] = [{"source": "concepts", "turns": 2}, {"source": "scenes"}]
    output = tmp_path / "run"
    checkpoint = run(read_recipe(write_recipe(parts / "r.yaml", values)), corpus, output)
    assert checkpoint.config.modalities["image"]["projector"]["groups"] == [6, 4], "colours, and silence"
    assert checkpoint.provenance.training["samples"] == {"align/concepts": 60, "align/scenes": 24}
    features = load_file(output / "concepts-image-0.safetensors")["features"].float()[:, 0]
    named = (features @ head.T).argmax(dim=-1)
    assert (named == torch.arange(6).repeat(10)).float().mean() > 0.8
    (parts / "names.txt").write_text("owl\ncrow\n")
    with pytest.raises(ConfigurationError, match=r"concepts\[0\]\.names: 2 names for the encoder's 6 classes"):
        run(read_recipe(parts / "r.yaml"), corpus, tmp_path / "other")


def test_precomputed_features_are_trained_on(recipe_of: Callable[..., Recipe], tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "rows"
    folder.mkdir(parents=True)
    save_file({"features": torch.randn(8, 1, 32)}, folder / "f.safetensors")
    turn = [image("f.safetensors#{}"), text("Which?")]
    samples = [
        sample(f"rows/{row}", (json.loads(json.dumps(turn).replace("{}", str(row))), ["odd", "even"][row % 2]))
        for row in range(8)
    ]
    write_json_lines(folder / "train.jsonl", samples)

    def rows(values: dict[str, Any]) -> None:
        del values["modalities"]["audio"]
        values["modalities"]["image"] |= {
            "projector": {"type": "mlp", "tokens": 2},
            "initialisation": {"type": "ridge"},
        }
        values["stages"][0] |= {"data": [{"source": "rows", "passes": 4}], "learning_rates": {"projectors.*": 0.003}}

    checkpoint = run(recipe_of(rows), tmp_path / "corpus", tmp_path / "run")
    assert checkpoint.provenance.training["media"] == {"image": 0}
