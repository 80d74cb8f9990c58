"""The files of features: ordinary safetensors, and whatever happens to one of them is noticed and named."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from model.errors import DataError
from tests.training.cache.conftest import Make
from tests.training.cache.toys import Counter, ToyConfig, draw_many
from training.cache import facts, fill
from training.cache.shards import Shard, ShardWriter
from training.data import MediaRef

DIM = 6


def write(folder: Path, rows: dict[str, torch.Tensor], dim: int = DIM) -> Path:
    writer = ShardWriter(folder / "partial", "toy-0", dim)
    for digest, features in rows.items():
        writer.add(digest, features)
    return writer.publish()


def random_rows(lengths: list[int], dim: int = DIM) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(lengths))
    return {f"{index:064x}": torch.randn(n, dim, generator=generator).half() for index, n in enumerate(lengths)}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), dim=st.integers(1, 9))
def test_what_was_written_is_read(tmp_path: Path, lengths: list[int], dim: int) -> None:
    rows = random_rows(lengths, dim)
    path = write(tmp_path, rows, dim)
    shard = Shard(path, "toy-0", dim)
    assert shard.digests == list(rows)
    assert all(torch.equal(shard.row(index), features) for index, features in enumerate(rows.values()))
    assert list(shard.verify()) == list(range(len(lengths)))
    # Any reader of the format gets the same.
    tensors = load_file(path)
    assert torch.equal(tensors["features"][: sum(lengths)], torch.cat(list(rows.values())))
    assert tensors["offsets"].diff().tolist() == lengths


def test_the_name_is_the_contents(tmp_path: Path) -> None:
    first, again = write(tmp_path, random_rows([2, 1])), write(tmp_path, random_rows([2, 1]))
    other = write(tmp_path, random_rows([1, 2]))
    assert first == again != other
    assert [path.name for path in sorted(tmp_path.iterdir())] == sorted([first.name, other.name])


def test_a_row_that_failed_half_way_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(random_rows([3, 4, 2]).items())
    writer = ShardWriter(tmp_path / "partial", "toy-0", DIM)
    writer.add(*rows[0])
    writer._file.seek(0, 2)
    writer._file.write(b"half a row, then the disk was full")
    writer.add(*rows[2])
    shard = Shard(writer.publish(), "toy-0", DIM)
    assert [shard.row(index).tolist() for index in range(2)] == [rows[0][1].tolist(), rows[2][1].tolist()]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("intact"), random_rows([3, 1, 2]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["flip", "truncate", "zero", "append"]))
def test_any_damage_is_noticed(intact: Path, tmp_path: Path, seed: int, kind: str) -> None:
    """Or does no harm: the padding of the header and of the features means nothing."""
    generator, data = random.Random(seed), bytearray(intact.read_bytes())
    place = generator.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << generator.randrange(8)
    elif kind == "truncate":
        del data[place:]
    elif kind == "zero":
        data[place:] = bytes(len(data) - place)
    else:
        data += b"more"
    path = tmp_path / intact.name
    path.write_bytes(data)
    message = ""
    try:
        shard = Shard(path, "toy-0", DIM)
        list(shard.verify())
    except DataError as error:
        message = str(error)
    if message:
        assert message.startswith(f"{path}: this file of cached features is damaged (")
        assert "`quartet data cache --repair`" in message
    else:
        rows = random_rows([3, 1, 2])
        assert shard.digests == list(rows)
        assert all(torch.equal(shard.row(index), features) for index, features in enumerate(rows.values()))


def test_another_encoders_shard_is_refused(intact: Path) -> None:
    with pytest.raises(DataError, match="not features of toy-1"):
        Shard(intact, "toy-1", DIM)
    with pytest.raises(DataError, match=rf"features \[\d+, {DIM}\], expected float16 \[positions, 7\]"):
        Shard(intact, "toy-0", 7)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


@pytest.fixture
def two_shards(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[MediaRef], list[Path]]:
    """Twelve media in shards of six."""
    monkeypatch.setattr(fill, "SHARD_BYTES", 6 * 32 * 2)
    pictures = draw_many(tmp_path / "media", 12)
    cache = make()
    cache.ensure(pictures, Counter())
    return pictures, sorted(cache.folder.glob("shard-*"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "index", "features"])
def test_only_the_damaged_shard_is_made_again(
    make: Make, two_shards: tuple[list[MediaRef], list[Path]], damage: str
) -> None:
    pictures, shards = two_shards
    assert len(shards) == 2
    before = make().stack(pictures)
    bad = shards[1]
    if damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:1500])
    elif damage == "empty":
        bad.write_bytes(b"")
    else:
        flip(bad, -5 if damage == "index" else 1024 + 70)
    with pytest.raises(DataError, match=rf"{bad.name}: this file of cached features is damaged"):
        make().ensure(pictures, Counter())
    counter = Counter()
    repaired = make(repair=True)
    assert repaired.ensure(pictures, counter) == counter.media == 6
    assert torch.equal(make().stack(pictures), before)
    assert make().verify() == []


def test_features_are_checked_before_training_and_when_they_are_first_read(
    make: Make, two_shards: tuple[list[MediaRef], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, shards = two_shards
    monkeypatch.setattr(facts, "SETTLED_NS", 0)
    make().ensure(pictures, Counter())
    for shard in shards:
        copy = shard.with_suffix(".copy")
        shutil.copy2(shard, copy)
        copy.replace(shard)
    checked: list[int] = []
    original = Shard.verify
    monkeypatch.setattr(Shard, "verify", lambda self: checked.append(1) or original(self))
    cache = make()
    cache.ensure(pictures, Counter())
    assert len(checked) == 2, "other files than those that were checked"
    make().ensure(pictures, Counter())
    assert len(checked) == 2, "still those"
    # Damage that leaves no trace in the file's times is found when the row is read.
    cache = make()
    with shards[0].open("r+b") as file:
        file.seek(1024)
        byte = file.read(1)
        file.seek(1024)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataError, match=rf"{shards[0].name}: .*row 0 is not what was written"):
        cache.stack(pictures)


def test_repair_is_for_damage_alone(make: Make, two_shards: tuple[list[MediaRef], list[Path]]) -> None:
    _, shards = two_shards
    flip(shards[0], 1024 + 3)
    assert make(repair=True).verify() == [shards[0]]
    assert len(make()) == 6
    assert make().config == ToyConfig()
