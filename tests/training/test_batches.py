"""Batches: everything is seen, of one shape per length, with little padding, and the same at every start."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DataError
from training.batches import PADDING, LengthBatches, padded_lengths
from training.data import MediaRef
from training.dataset import Conversations, Row, bucket
from training.stage import Mixture, Stage


def stage(**fields: object) -> Stage:
    values: dict[str, object] = {"max_length": 64, "batch_tokens": 64, **fields}
    return Stage(name="s", learning_rates={"projectors": 1.0}, data=[Mixture(source="x")], **values)  # type: ignore[arg-type]


def conversations(lengths: list[int], media: bool = False) -> Conversations:
    shown = [MediaRef("image", __file__)] if media else []  # type: ignore[arg-type]
    return Conversations(
        Row([0] * n, [0] * n, shown if i % 2 else [], samples=i % 3 + 1) for i, n in enumerate(lengths)
    )


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=40),
    tokens=st.integers(64, 300),
    seed=st.integers(0, 3),
    apart=st.booleans(),
)
def test_an_epoch_covers_everything_with_one_shape_per_length(
    lengths: list[int], tokens: int, seed: int, apart: bool
) -> None:
    data = conversations(lengths, media=True)
    sampler = LengthBatches(data, [64, 16], stage(batch_tokens=tokens), seed, apart=apart)
    batches = list(sampler)
    assert {index for batch in batches for index in batch} == set(range(len(lengths)))
    assert len(batches) == len(sampler)
    padded = [{bucket(lengths[index], [16, 64]) for index in batch} for batch in batches]
    assert all(len(found) == 1 for found in padded), "rows of a batch are padded to the same length"
    assert all(len(batch) == max(1, tokens // length) for batch, (length,) in zip(batches, padded, strict=True))
    repeated = sum(map(len, batches)) - len(lengths)
    assert repeated < (1 + apart) * sum(max(1, tokens // length) for length in (16, 64))
    if apart:
        assert all(len({bool(data.media[index]) for index in batch}) == 1 for batch in batches)
    again = LengthBatches(data, [16, 64], stage(batch_tokens=tokens), seed, apart=apart)
    assert batches == list(again), "the same at every start, so a run can resume"


def test_epochs_come_in_different_orders_and_steps_take_as_many_as_they_need() -> None:
    data = conversations([8] * 20)
    twice = list(LengthBatches(data, [8], stage(batch_rows=2, batch_tokens=None, epochs=2), 0))
    assert len(twice) == 20
    assert twice[:10] != twice[10:]
    assert sorted(i for batch in twice[10:] for i in batch) == list(range(20))
    steps = stage(batch_rows=2, batch_tokens=None, steps=4, accumulation=4)
    assert (
        list(LengthBatches(data, [8], steps, 0))
        == list(LengthBatches(data, [8], stage(batch_rows=2, batch_tokens=None, epochs=2), 0))[:16]
    )


def test_devices_get_as_many_batches_as_each_other() -> None:
    data = conversations([8] * 10)
    assert len(LengthBatches(data, [8], stage(batch_rows=2, batch_tokens=None), 0, devices=3)) == 6


def test_a_plan_counts_samples_and_tokens() -> None:
    sampler = LengthBatches(conversations([5, 8, 8]), [8], stage(batch_rows=3, batch_tokens=None), 0)
    (batch,) = sampler.plan
    assert (batch.samples, batch.tokens, batch.length) == (6, 21, 8)
    assert sampler.padding == pytest.approx(3 / 24)


def test_a_row_that_fits_no_batch_is_refused() -> None:
    with pytest.raises(DataError, match=r"a conversation of 65 tokens is longer than the longest batch \(64\)"):
        LengthBatches(conversations([65]), [16, 64], stage(), 0)


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(DataError, match="stage s: there is no conversation to train on"):
        LengthBatches(conversations([]), [16], stage(), 0)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=200),
    longest=st.integers(500, 2000),
    share=st.sampled_from([0.02, 0.08, 0.3]),
)
def test_padded_lengths_hold_every_row(lengths: list[int], longest: int, share: float) -> None:
    chosen = padded_lengths(lengths, longest, share)
    assert chosen == sorted(set(chosen))
    assert max(lengths) <= chosen[-1] <= longest
    positions = sum(bucket(length, chosen) for length in lengths)
    fine = max(8, -(-longest // 128))
    finest = sum(min(-(-length // fine) * fine, longest) for length in lengths)
    # 2 % of 3400 are 68, but not to the last bit.
    assert positions == finest or positions - sum(lengths) <= share * positions + 1e-6


def test_as_few_padded_lengths_as_possible() -> None:
    assert padded_lengths([64] * 100, 128) == [64]
    assert padded_lengths([16] * 50 + [128] * 50, 128) == [16, 128]
    # By hand: one length pads 1 - 232/640; two pad least at 64 and 128.
    assert padded_lengths([8, 32, 64, 64, 64], 128, share=0.4) == [64]
    assert padded_lengths([8, 32, 64, 64, 64], 128, share=0.2) == [32, 64]


@pytest.mark.parametrize("longest", [160, 2048])
def test_less_than_a_tenth_is_padding_for_lengths_of_any_kind(longest: int) -> None:
    generator = random.Random(0)
    for draw in (
        lambda: generator.randint(longest // 20, longest),
        lambda: min(longest, int(longest / 20 + generator.expovariate(6 / longest))),
        lambda: min(longest, max(longest // 20, int(generator.gauss(longest / 2, longest / 6)))),
    ):
        lengths = [draw() for _ in range(3000)]
        chosen = padded_lengths(lengths, longest)
        sampler = LengthBatches(
            conversations(lengths), chosen, stage(max_length=longest, batch_tokens=16 * longest), seed=0
        )
        assert sampler.padding < 0.1
    assert PADDING < 0.1
