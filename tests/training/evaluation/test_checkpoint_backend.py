"""What a checkpoint answers: teacher forcing agrees with greedy decoding, one by one and many at a time."""

import math
from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint
from model.prompt import Prompt
from tests.support.tiny import build_checkpoint
from tests.training.evaluation.corpora import write_test_corpus
from training.data import Sample, read_samples
from training.dataset import Row, encode_row
from training.evaluation.caches import Caches
from training.evaluation.forcing import batches, exact
from training.evaluation.local import CheckpointBackend
from training.evaluation.questions import questions
from training.evaluation.variants import without_media

MAX_TOKENS = 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_corpus(tmp_path_factory.mktemp("corpus"), each=2)


@pytest.fixture
def backend(tiny_checkpoint: Path, corpus: Path, own_cache: Path) -> CheckpointBackend:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    caches = Caches(checkpoint)
    caches.ensure(held_out(corpus))
    prompt = Prompt(checkpoint.tokenizer(), checkpoint.config)
    return CheckpointBackend(checkpoint.load(), prompt, caches.by_modality, max_tokens=MAX_TOKENS)


def held_out(corpus: Path) -> list[Sample]:
    return [
        s for source in ("scenes", "tones", "dialogs", "plain") for s in read_samples(corpus / source / "test.jsonl")
    ]


def alone(backend: CheckpointBackend, sample: Sample, index: int) -> list[int]:
    """The reference's own answer to one question."""
    question = questions(sample)[index]
    features = {
        name: cache.stack([r for r in question.media if r.modality == name])
        for name, cache in backend.caches.items()
        if any(r.modality == name for r in question.media)
    }
    return backend.model.answer(backend.prompt.encode(question.messages), features, max_tokens=MAX_TOKENS).token_ids


def test_answers_in_batches_are_those_one_by_one(backend: CheckpointBackend, corpus: Path) -> None:
    samples = held_out(corpus)
    samples += [without_media(sample) for sample in samples]
    replies = backend.reply(samples, "test")
    assert [len(reply) for reply in replies] == [len(questions(sample)) for sample in samples]
    for sample, given in zip(samples, replies, strict=True):
        for index, reply in enumerate(given):
            expected = backend.prompt.tokenizer.decode(alone(backend, sample, index), skip_special_tokens=True)
            assert reply.text == expected


def test_an_answer_of_its_own_is_exact(backend: CheckpointBackend, corpus: Path) -> None:
    """A random model hardly ever says what was asked for; make it the reference."""
    sample = held_out(corpus)[0]
    said = backend.model.answers(
        [ids := backend.prompt.encode(sample.messages[:-1])], stack(backend, sample), max_tokens=6
    )
    row = Row(ids + said[0], [-100] * len(ids) + said[0], sample.media)
    assert exact(backend.model, backend.caches, [row]) == [True]
    wrong = [*said[0][:-1], (said[0][-1] + 1) % 300]
    assert exact(backend.model, backend.caches, [Row(ids + wrong, [-100] * len(ids) + wrong, sample.media)]) == [False]


def stack(backend: CheckpointBackend, sample: Sample) -> dict[str, torch.Tensor]:
    return {"image": backend.caches["image"].stack(sample.media)}


def test_surprise_is_the_references_and_leaves_out_the_end_token(backend: CheckpointBackend, corpus: Path) -> None:
    sample = next(s for s in held_out(corpus) if s.task == "dialogs/turns")
    row = encode_row(backend.prompt, sample)
    features = {
        name: backend.caches[name].stack([r for r in sample.media if r.modality == name]) for name in backend.caches
    }
    with torch.inference_mode():
        logits = backend.model(torch.tensor([row.input_ids]), features=features).logits[0].log_softmax(-1)
    end = backend.prompt.tokenizer.eos_token_id
    wanted, turn = [[0.0, 0], [0.0, 0]], 0
    for position, label in enumerate(row.labels):
        if label == end:
            turn += 1
        elif label != -100:
            wanted[turn][0] -= float(logits[position - 1, label])
            wanted[turn][1] += 1
    (replies,) = backend.reply([sample], "test")
    assert [reply.tokens for reply in replies] == [count for _, count in wanted]
    assert [reply.surprise for reply in replies] == pytest.approx([value for value, _ in wanted], abs=1e-3)
    assert all(reply.surprise and math.isfinite(reply.surprise) for reply in replies)


def test_fast_generates_nothing(backend: CheckpointBackend, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "generate", False)
    monkeypatch.setattr(type(backend.model), "answers", None)
    (replies,) = backend.reply(held_out(corpus)[:1], "test")
    assert replies[0].text is None
    assert replies[0].surprise is not None


def test_batches_hold_every_row_once_and_media_apart() -> None:
    media = [[], ["a"]]
    rows = [Row([1] * (3 + index * 7 % 500), [], media[index % 2]) for index in range(150)]  # type: ignore[arg-type]
    found = list(batches(rows))
    assert sorted(index for part in found for index in part) == list(range(150))
    for part in found:
        assert len({bool(rows[index].media) for index in part}) == 1
        longest = max(len(rows[index].input_ids) for index in part)
        assert len(part) == 1 or len(part) * longest <= 4096
        assert len(part) <= 32
    assert list(batches([Row([1] * 9000, [], [])])) == [[0]]


def test_an_adapter_for_media_is_scored_as_it_is_used(tmp_path: Path, corpus: Path, own_cache: Path) -> None:
    """An answer given before the first medium came was given without the adapter."""
    checkpoint = Checkpoint.open(build_checkpoint(tmp_path))
    model = checkpoint.load()
    model.config.adapter_scope = "media"
    backend = CheckpointBackend(model, Prompt(checkpoint.tokenizer(), checkpoint.config), {}, max_tokens=MAX_TOKENS)
    sample = held_out(corpus)[0]
    early = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]
    later = Sample(id="later", messages=[*early, *sample.messages], media=sample.media)
    parts = backend._parts(later, questions(later))
    assert [(len(part.messages), len(part.media), count) for part, count in parts] == [(2, 0, 1), (4, 1, 1)]
    assert backend._parts(sample, questions(sample)) == [(sample, 1)]
