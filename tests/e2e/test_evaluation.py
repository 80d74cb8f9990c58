"""A checkpoint in transformers and the server that serves it give the same evaluation."""

from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from model.prompt import Prompt
from tests.support.serving import ServerProcess
from tests.training.evaluation.corpora import write_test_corpus
from training.data import read_samples
from training.evaluation.caches import Caches
from training.evaluation.local import CheckpointBackend
from training.evaluation.remote import ServerBackend
from training.evaluation.variants import variants

MAX_TOKENS = 8


def test_both_ways_give_the_same_answers_and_probabilities(
    server: ServerProcess, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))
    corpus = write_test_corpus(tmp_path / "corpus", each=2)
    checkpoint = Checkpoint.open(tiny_checkpoint)
    caches = Caches(checkpoint)
    local = CheckpointBackend(
        checkpoint.load(),
        Prompt(checkpoint.tokenizer(), checkpoint.config),
        caches.by_modality,
        max_tokens=MAX_TOKENS,
    )
    remote = ServerBackend(f"{server.url}/v1", max_tokens=MAX_TOKENS)
    assert remote.model == server.model
    for source in ("scenes", "tones", "dialogs", "plain"):
        samples = read_samples(corpus / source / "test.jsonl")
        caches.ensure(samples)
        for variant, asked in variants(samples).items():
            expected, given = local.reply(asked, variant), remote.reply(asked, variant)
            for sample, ours, theirs in zip(asked, expected, given, strict=True):
                for one, two in zip(ours, theirs, strict=True):
                    # A character cut in half at the end is shown in one way or the other.
                    assert str(one.text).rstrip("\ufffd") == str(two.text).rstrip("\ufffd"), (sample.id, variant)
                    assert (one.exact, one.tokens, two.failure) == (two.exact, two.tokens, None)
                    # The feature cache keeps half precision; the server encodes anew.
                    assert two.surprise == pytest.approx(one.surprise, rel=5e-3)
