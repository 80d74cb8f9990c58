"""Rows, batches and features: nothing is lost, nothing is too long, and media stand where their placeholders are."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model.checkpoint import Checkpoint
from model.encoders import encoder_config
from model.errors import DataError
from model.prompt import IGNORE, Prompt
from tests.training.parts import audio, image, sample, text
from training.cache import FeatureCache
from training.data import MediaRef, Sample
from training.dataset import Collator, Conversations, Row, encode_row, fill_rows
from training.noise import UNKNOWN
from training.problems import Kind, ProblemLog

ROWS = 200


@pytest.fixture(scope="module")
def prompt(tiny_checkpoint: Path) -> Prompt:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    return Prompt(checkpoint.tokenizer(), checkpoint.config)


@pytest.fixture(scope="module")
def feature_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Row r of modality m holds the number r everywhere: a feature tells which medium it is of."""
    folder = tmp_path_factory.mktemp("rows")
    rows = torch.arange(ROWS).float()[:, None, None].expand(ROWS, 1, 32).contiguous()
    for name in ("image", "audio"):
        save_file({"features": rows.clone()}, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("image", "audio")}


@pytest.fixture(scope="module")
def caches(
    prompt: Prompt, feature_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, FeatureCache]:
    folder = tmp_path_factory.mktemp("features")
    entries = prompt.config.modalities
    return {name: FeatureCache(folder, encoder_config(entries[name]["encoder"]), "0" * 64) for name in entries}


@pytest.fixture(scope="module")
def make(feature_files: dict[str, Path]) -> Callable[..., Sample]:
    """A sample with media `[("image", row), ...]` between texts; its answer is its number, said `words` times."""

    def build(number: int, media: list[tuple[str, int]], words: int = 1, system: bool = False) -> Sample:
        content: list[dict[str, Any]] = []
        for kind, row in media:
            content += [(image if kind == "image" else audio)(f"{kind}.safetensors#{row}"), text("and")]
        values = sample(f"s/{number}", ([*content, text("what?")], " ".join([f"n{number}"] * words)))
        head = [{"role": "system", "content": "Be brief."}] if system else []
        references = [MediaRef(kind, feature_files[kind], row) for kind, row in media]
        return Sample(id=values["id"], messages=head + values["messages"], media=references)

    return build


@pytest.fixture(scope="module")
def samples(make: Callable[..., Sample]) -> list[Sample]:
    rng = random.Random(0)
    return [
        make(n, [(rng.choice(["image", "audio"]), rng.randrange(ROWS)) for _ in range(rng.randrange(3))])
        for n in range(60)
    ]


def answers(row: Row, prompt: Prompt) -> list[str]:
    learned = [token for token in row.labels if token != IGNORE]
    spoken = prompt.tokenizer.decode(learned, skip_special_tokens=False)
    return [part.strip() for part in spoken.split("<|im_end|>") if part.strip()]


@pytest.mark.parametrize("turns", [1, 2, 5])
@pytest.mark.parametrize("max_length", [96, 256])
def test_every_sample_is_in_exactly_one_row_that_is_not_too_long(
    samples: list[Sample], prompt: Prompt, turns: int, max_length: int
) -> None:
    rows = list(fill_rows(samples, prompt, turns=turns, max_length=max_length, seed=3))
    assert sum(row.samples for row in rows) == len(samples)
    assert sorted(name for row in rows for name in answers(row, prompt)) == sorted(s.answer for s in samples)
    assert sorted(str(m) for row in rows for m in row.media) == sorted(str(m) for s in samples for m in s.media)
    assert max(len(row.input_ids) for row in rows) <= max_length
    assert max(len(answers(row, prompt)) for row in rows) <= turns
    if turns == 5 and max_length == 256:
        assert len(rows) < len(samples) / 2, "rows are filled"


def test_media_of_a_row_are_those_of_its_placeholders_in_order(samples: list[Sample], prompt: Prompt) -> None:
    names = {token: name for name, token in prompt.config.media_token_ids.items()}
    for row in fill_rows(samples, prompt, turns=4, max_length=256, seed=0):
        seen = [names[token] for token in row.input_ids if token in names]
        assert seen == [m.modality for m in row.media for _ in range(prompt.config.modality_specs[m.modality].tokens)]
        assert all(label == IGNORE for token, label in zip(row.input_ids, row.labels, strict=True) if token in names)


def test_rows_depend_on_the_seed_alone(samples: list[Sample], prompt: Prompt) -> None:
    first, same, other = (list(fill_rows(samples, prompt, turns=3, max_length=200, seed=seed)) for seed in (1, 1, 2))
    assert first == same != other


def test_a_system_message_speaks_for_its_own_sample_only(make: Callable[..., Sample], prompt: Prompt) -> None:
    mixed = [make(n, [("image", n)], system=n % 2 == 0) for n in range(20)]
    rows = list(fill_rows(mixed, prompt, turns=4, max_length=256, seed=0))
    begins = prompt.tokenizer("<|im_start|>system", add_special_tokens=False)["input_ids"]
    for row in rows:
        systems = sum(row.input_ids[i : i + len(begins)] == begins for i in range(len(row.input_ids)))
        assert systems == 0 or len(answers(row, prompt)) == 1
    assert sum(len(answers(row, prompt)) for row in rows) == 20


@pytest.mark.parametrize("turns", [1, 4])
def test_a_sample_that_is_too_long_is_named(make: Callable[..., Sample], prompt: Prompt, turns: int) -> None:
    with pytest.raises(DataError, match=r"sample s/1: \d+ tokens, at most 64 fit; raise max_length"):
        list(fill_rows([make(0, []), make(1, [], words=40)], prompt, turns=turns, max_length=64, seed=0))


@pytest.mark.parametrize("turns", [1, 4])
def test_a_sample_that_is_too_long_is_left_out_and_counted_if_the_source_says_so(
    make: Callable[..., Sample], prompt: Prompt, turns: int
) -> None:
    problems = ProblemLog()
    given = [make(0, []), make(1, [], words=40), make(2, [])]
    rows = fill_rows(given, prompt, turns=turns, max_length=64, seed=0, on_problem="skip", problems=problems)
    assert sorted(name for row in rows for name in answers(row, prompt)) == ["n0", "n2"]
    assert problems.kinds == {Kind.TOO_LONG: 1}


def test_conversations_hold_rows_as_they_were(samples: list[Sample], prompt: Prompt) -> None:
    rows = list(fill_rows(samples, prompt, turns=3, max_length=200, seed=0))
    data = Conversations(iter(rows))
    assert [data[index] for index in range(len(data))] == rows
    assert data.lengths == [len(row.input_ids) for row in rows]


def test_a_conversation_that_cannot_be_trained_on_is_named(make: Callable[..., Sample], prompt: Prompt) -> None:
    silent = Sample(id="s/9", messages=[{"role": "user", "content": "x"}], media=[])
    with pytest.raises(DataError, match=r"sample s/9: .*no assistant turn"):
        encode_row(prompt, silent)


def test_no_samples_give_no_rows(prompt: Prompt) -> None:
    assert list(fill_rows([], prompt, turns=3, max_length=64, seed=0)) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    media=st.lists(
        st.lists(st.tuples(st.sampled_from(["image", "audio"]), st.integers(0, ROWS - 1)), max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_features_stand_in_reading_order(
    media: list[list[tuple[str, int]]],
    prompt: Prompt,
    caches: dict[str, FeatureCache],
    make: Callable[..., Sample],
) -> None:
    rows = [encode_row(prompt, make(number, members)) for number, members in enumerate(media)]
    batch = Collator(prompt.config, caches, [128, 256], pad=0)(rows)
    order = {name: [r for members in media for kind, r in members if kind == name] for name in ("image", "audio")}
    assert {name: features[:, 0, 0].int().tolist() for name, features in batch["features"].items()} == {
        name: found for name, found in order.items() if found
    }
    for name, spec in prompt.config.modality_specs.items():
        assert int((batch["input_ids"] == spec.placeholder_id).sum()) == spec.tokens * len(order[name])


def test_rows_are_padded_on_the_right_and_nothing_is_learned_there(
    prompt: Prompt, caches: dict[str, FeatureCache]
) -> None:
    rows = [Row([5, 6, 7], [IGNORE, 6, 7], []), Row(list(range(20)), [IGNORE] * 20, [])]
    batch = Collator(prompt.config, caches, [64, 16], pad=9)(rows)
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 64)
    assert batch["input_ids"][0].tolist() == [5, 6, 7] + [9] * 61
    assert batch["labels"][0].tolist() == [IGNORE, 6, 7] + [IGNORE] * 61
    assert batch["features"] == {}


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.sampled_from([1, 2, 9]), st.booleans()), min_size=1, max_size=6), min_size=1, max_size=4
    )
)
def test_a_prefix_is_what_all_rows_begin_with_before_a_medium_or_an_answer(rows: list[list[tuple[int, bool]]]) -> None:
    data = Conversations(
        Row([token for token, _ in row], [token if learned else IGNORE for token, learned in row], []) for row in rows
    )
    prefix = data.prefix([9])
    shortest = min(map(len, rows))
    # Token by token, as it is defined.
    same = [
        n + 1 < shortest
        and len({row[n][0] for row in rows}) == 1
        and rows[0][n][0] != 9
        and not any(row[n + 1][1] for row in rows)
        for n in range(shortest)
    ]
    assert prefix == (same.index(False) if False in same else shortest)


def test_a_batch_says_what_its_rows_begin_with(prompt: Prompt, caches: dict[str, FeatureCache]) -> None:
    rows = [Row([5, 6, 7], [IGNORE, IGNORE, 7], []), Row([5, 6, 8], [IGNORE, IGNORE, 8], [])]
    assert Conversations(rows).prefix([9]) == 1, "the second token asks for an answer"
    assert Conversations([]).prefix([9]) == 0
    assert "prefix" not in Collator(prompt.config, caches, [16], pad=0)(rows)
    assert Collator(prompt.config, caches, [16], pad=0, prefix=1)(rows)["prefix"] == 1


def test_a_batch_says_which_group_each_medium_is_asked_about(
    prompt: Prompt, caches: dict[str, FeatureCache], make: Callable[..., Sample]
) -> None:
    given = [
        replace(make(number, [("image", number), ("audio", number)]), meta={"task": task})
        for number, task in enumerate(["scenes/colour", "emoji/kind", "dialogs/both"])
    ]
    rows = list(fill_rows(given, prompt, turns=3, max_length=200, seed=0))
    assert len(rows) < len(given), "some are joined"
    asked = {"image": {"scenes/colour": 1, "emoji/kind": 0}}
    batch = Collator(prompt.config, caches, [256], pad=0, asked=asked)(rows)
    shown = batch["features"]["image"][:, 0, 0].int().tolist()
    assert set(batch["asked"]) == {"image"}
    assert dict(zip(shown, batch["asked"]["image"].tolist(), strict=True)) == {0: 1, 1: 0, 2: UNKNOWN}
    assert "asked" not in Collator(prompt.config, caches, [256], pad=0)(rows)
