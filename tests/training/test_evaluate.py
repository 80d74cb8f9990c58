"""Scores: controls that really take the medium away or exchange it, and exactness that is greedy decoding's."""

import json

import pytest
import torch

from model.checkpoint import Checkpoint
from model.prompt import Prompt
from tests.support.tiny import build_checkpoint
from training.data import MediaRef, Sample
from training.dataset import encode_row
from training.evaluate import Score, evaluate_checkpoint, exact, markdown, probe_ceiling, shuffle_media, without_media


def sample(index, paths, answer="red", task="colours/one"):
    parts = [{"type": "image_url", "image_url": {"url": str(path)}} for path in paths]
    content = [{"type": "text", "text": "What colour is it?"}, *parts]
    return Sample(
        id=str(index),
        messages=[{"role": "user", "content": content}, {"role": "assistant", "content": answer}],
        media=[MediaRef("image", path) for path in paths],
        meta={"task": task, "label": answer},
    )


def test_without_media_leaves_only_text(tmp_path):
    bare = without_media(sample(0, [tmp_path / "a.png"]))
    assert bare.media == []
    assert [part["type"] for part in bare.messages[0]["content"]] == ["text"]


@pytest.mark.parametrize("count", [2, 3, 10, 31])
@pytest.mark.parametrize("media", [1, 2])
def test_shuffled_media_are_another_samples_and_all_are_used(tmp_path, count, media):
    samples = [sample(i, [tmp_path / f"{i}-{j}.png" for j in range(media)]) for i in range(count)]
    shuffled = shuffle_media(samples, seed=0)
    assert [s.id for s in shuffled] == [s.id for s in samples]
    assert sorted(str(r.path) for s in shuffled for r in s.media) == sorted(
        str(r.path) for s in samples for r in s.media
    )
    if media == 1:
        assert all(a.media != b.media for a, b in zip(samples, shuffled, strict=True))


def test_exact_is_what_greedy_decoding_answers(tmp_path):
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path / "checkpoint"))
    model, prompt = checkpoint.load(), Prompt(checkpoint.tokenizer(), checkpoint.config)
    question = [{"role": "user", "content": "What colour is it?"}]
    rows = []
    for answer in ("red", "blue", "a green star"):
        ask = Sample(id=answer, messages=[*question, {"role": "assistant", "content": answer}], media=[])
        rows.append(encode_row(prompt, ask))
    greedy = model.answer(prompt.encode(question), max_tokens=16).token_ids
    for row, right in zip(rows, exact(model, {}, rows), strict=True):
        wanted = [label for label in row.labels if label != -100]
        assert right == (greedy[: len(wanted)] == wanted)
    # A random model hardly ever says what was asked for; make it a row that it does say.
    ids = prompt.encode(question)
    said = type(rows[0])(ids + greedy, [-100] * len(ids) + greedy, [])
    assert exact(model, {}, [said]) == [True]


def test_ceiling_needs_labels_and_training_samples(tmp_path):
    unlabelled = Sample(id="0", messages=[{"role": "user", "content": "x"}], media=[], meta={"task": "colours/one"})
    assert probe_ceiling([unlabelled], {}, tmp_path) is None
    assert probe_ceiling([sample(0, [tmp_path / "a.png"])], {}, tmp_path) is None


def test_table_and_interval():
    score = Score(task="t", samples=100, right=0.5, none=0.0, shuffled=0.1, ceiling=0.8, chance=None)
    assert score.ratio == pytest.approx(0.625)
    # Wilson's half width at p = 0.5, n = 100.
    assert score.interval == pytest.approx(0.0962, abs=1e-3)
    row = markdown([score]).splitlines()[2]
    assert row == "| t | 100 | 50.0 ± 9.6 | 0.0 | 10.0 | 80.0 | 0.62 |  |"


def test_scores_of_a_checkpoint_are_written(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    folder = tmp_path / "corpus" / "colours"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        lines = []
        for index in range(12):
            colour = ("red", "blue")[index % 2]
            Image.new("RGB", (32, 32), colour).save(folder / f"{split}{index}.png")
            picture = {"type": "image_url", "image_url": {"url": f"{split}{index}.png"}}
            content = [picture, {"type": "text", "text": "What colour is it?"}]
            messages = [{"role": "user", "content": content}, {"role": "assistant", "content": colour}]
            lines.append(
                json.dumps({"id": f"{index}", "messages": messages, "meta": {"task": "colours/one", "label": colour}})
            )
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    table = evaluate_checkpoint(
        build_checkpoint(tmp_path / "checkpoint"), tmp_path / "corpus", tmp_path / "out", limit=8
    )
    values = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [value["task"] for value in values] == ["colours/one"]
    assert values[0]["samples"] == 8
    # Two plain colours are linearly separable in any features.
    assert values[0]["ceiling"] == 1.0
    assert (tmp_path / "out" / "scores.md").read_text() == table
