"""The feature cache: every medium is encoded once, by one encoder, and what is unusable is named and counted."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model.encoders import encoder_config, load_state
from model.errors import CheckpointError, DataError
from model.media import decode_audio
from tests.support.tiny import ENCODERS
from tests.training.cache.conftest import Make
from tests.training.cache.toys import Counter, ToyConfig, draw_many
from tests.training.parts import draw, play
from training.cache import FeatureCache, facts, store
from training.data import MediaRef
from training.parts import encode_media


def test_each_medium_is_encoded_once(make: Make, pictures: list[MediaRef]) -> None:
    first, cache = Counter(), make()
    assert cache.ensure(pictures * 2, first) == len(pictures)
    assert (first.media, first.built) == (len(pictures), 1)
    second = Counter()
    assert cache.ensure(pictures, second) == make().ensure(pictures, second) == 0
    assert (second.media, second.built) == (0, 0)
    again = make()
    stacked = again.stack(pictures)
    assert torch.equal(stacked, torch.stack([ToyConfig().features(ref.path) for ref in pictures]))
    assert (stacked.shape, stacked.dtype) == ((len(pictures), 1, 32), torch.float32)
    assert len(set(stacked[:, 0, 0].tolist())) == len(again) == len(pictures)


def test_features_are_those_of_the_encoder(tmp_path: Path, parts: Path) -> None:
    play(tmp_path / "a.wav", 440, 0)
    play(tmp_path / "b.wav", 880, 1, seconds=0.5)
    references = [MediaRef("audio", tmp_path / name) for name in ("b.wav", "a.wav")]
    config = encoder_config(ENCODERS["whisper"])
    state = config.convert(load_state(parts / "audio.safetensors"))
    cache = FeatureCache(tmp_path / "features", config, "0" * 64)
    assert encode_media(cache, references, state) == 2
    module = config.build().eval()
    module.load_state_dict(state)
    for reference in references:
        mel = config.preprocess(decode_audio(reference.path.read_bytes()))
        with torch.inference_mode():
            torch.testing.assert_close(cache.get(reference), module(mel[None])[0], atol=2e-3, rtol=2e-3)


def test_media_of_different_lengths_are_kept_as_they_are(make: Make, tmp_path: Path) -> None:
    config = ToyConfig(vectors=None, width=5)
    wide = draw_many(tmp_path / "wide", 40, width=lambda index: 1 + index % 9)
    make(config).ensure(wide, Counter(config))
    cache = make(config)
    for index, reference in enumerate(wide):
        assert cache.get(reference).shape == (1 + index % 9, 5)
        assert torch.equal(cache.get(reference), config.features(reference.path))
    same = [wide[3], wide[12], wide[21]]
    assert cache.stack(same).shape == (3, 4, 5)
    with pytest.raises(DataError, match=r"00002\.png: 3 feature vectors, .*00001\.png has 2"):
        cache.stack([wide[1], wide[2]])


def test_a_renamed_file_is_found_and_a_changed_one_is_not(make: Make, pictures: list[MediaRef]) -> None:
    make().ensure(pictures, Counter())
    renamed = pictures[0].path.rename(pictures[0].path.with_name("renamed.png"))
    assert make().ensure([MediaRef("image", renamed)], Counter()) == 0
    draw(renamed, (1, 2, 3), 99)
    assert list(make().missing([MediaRef("image", renamed)]).values()) == [renamed]
    with pytest.raises(DataError, match=r"renamed\.png is not in the feature cache"):
        make().get(MediaRef("image", renamed))


def test_equal_files_are_encoded_once(make: Make, pictures: list[MediaRef]) -> None:
    copy = pictures[0].path.with_name("copy.png")
    copy.write_bytes(pictures[0].path.read_bytes())
    counter, cache = Counter(), make()
    assert cache.ensure([pictures[0], MediaRef("image", copy)], counter) == counter.media == 1
    assert torch.equal(cache.get(pictures[0]), cache.get(MediaRef("image", copy)))


def test_another_encoder_never_gives_its_features(
    make: Make, pictures: list[MediaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    make().ensure(pictures, Counter())
    for other in (make(sha256="1" * 64), make(ToyConfig(width=16))):
        assert len(other.missing(pictures)) == len(pictures)
    monkeypatch.setattr(ToyConfig, "version", 2)
    assert len(make().missing(pictures)) == len(pictures), "other preprocessing"
    monkeypatch.undo()
    assert not make().missing(pictures)


def test_the_second_run_does_not_read_the_media_again(
    make: Make, pictures: list[MediaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "SETTLED_NS", 0)
    make().ensure(pictures, Counter())
    read: list[Path] = []
    original = store._hash_file
    monkeypatch.setattr(store, "_hash_file", lambda path: read.append(path) or original(path))
    assert make().ensure(pictures, Counter()) == 0
    assert read == []
    draw(pictures[2].path, (9, 9, 9), 5)
    assert make().ensure(pictures, Counter()) == 1
    assert read == [pictures[2].path]


def test_a_medium_that_cannot_be_used_does_not_keep_the_others_from_it(
    make: Make, pictures: list[MediaRef], tmp_path: Path
) -> None:
    pictures[1].path.write_bytes(pictures[1].path.read_bytes()[:40])
    pictures[3].path.write_bytes(b"no picture")
    twin = MediaRef("image", tmp_path / "twin.png")
    twin.path.write_bytes(b"no picture")
    pictures[5].path.unlink()
    cache, counter = make(), Counter()
    with pytest.raises(DataError) as caught:
        cache.ensure([*pictures, twin], counter)
    assert "4 image media cannot be used" in str(caught.value)
    for path in (pictures[1].path, pictures[3].path, pictures[5].path, twin.path):
        assert f"{path}: " in str(caught.value)
    assert f"{pictures[5].path}: cannot be read (No such file" in str(caught.value)
    assert counter.media == len(cache) == 4
    skipping = make()
    assert skipping.ensure([*pictures, twin], Counter(), on_problem="skip") == 0
    assert set(skipping.unusable) == {pictures[1].path, pictures[3].path, pictures[5].path, twin.path}
    assert skipping.unusable[twin.path] == skipping.unusable[pictures[3].path]
    with pytest.raises(DataError, match=r"1 image media cannot be used: .*00005\.png: cannot be read"):
        skipping.missing(pictures)


def test_only_some_of_many_unusable_media_are_named(make: Make, tmp_path: Path) -> None:
    references = [MediaRef("image", tmp_path / f"{index}.png") for index in range(13)]
    with pytest.raises(DataError, match=r"13 image media .*; and 3 more; replace"):
        make().ensure(references, Counter())


def test_features_that_do_not_fit_float16_are_refused(make: Make, pictures: list[MediaRef]) -> None:
    cache = make()
    with pytest.raises(DataError, match=r"7 image .*\.png: the encoder gives features that are not finite in float16"):
        cache.ensure(pictures, Counter(scale=1e9))
    assert len(cache) == 0


def test_an_encoder_that_contradicts_its_configuration_is_refused(make: Make, pictures: list[MediaRef]) -> None:
    with pytest.raises(DataError, match=r"toy encoder gives features \[1, 16\], its configuration says \[1, 32\]"):
        make().ensure(pictures, Counter(ToyConfig(width=16)))


def test_rows_of_feature_files_need_no_encoder(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    save_file({"features": torch.arange(3 * 32).reshape(3, 1, 32).half()}, path)
    references = [MediaRef("image", path, row) for row in (2, 0)]
    cache, counter = make(), Counter()
    assert cache.ensure(references, counter) == counter.built == 0
    assert cache.stack(references)[:, 0, 0].tolist() == [2.0 * 32, 0.0]
    with pytest.raises(DataError, match=r"f\.safetensors#3: no such row"):
        cache.get(MediaRef("image", path, 3))
    save_file({"features": torch.zeros(3, 1, 33)}, tmp_path / "g.safetensors")
    with pytest.raises(DataError, match=r"g\.safetensors: features have shape .*\[rows, 1, 32\]; .*another encoder"):
        cache.get(MediaRef("image", tmp_path / "g.safetensors", 0))
    with pytest.raises(DataError, match=r"h\.safetensors#0: no such row"):
        cache.get(MediaRef("image", tmp_path / "h.safetensors", 0))


def test_weights_of_another_encoder_are_refused(tmp_path: Path, parts: Path, pictures: list[MediaRef]) -> None:
    config = encoder_config(ENCODERS["whisper"])
    state = config.convert(load_state(parts / "audio.safetensors"))
    cache = FeatureCache(tmp_path / "features", encoder_config(ENCODERS["clip"]), "0" * 64)
    with pytest.raises(CheckpointError, match=r"weights of the clip encoder: tensor .* is missing"):
        encode_media(cache, pictures, state)


def test_a_data_worker_opens_the_shards_itself(make: Make, pictures: list[MediaRef]) -> None:
    cache = make(ToyConfig(width=4096))
    cache.ensure(pictures, Counter(ToyConfig(width=4096)))
    data = pickle.dumps(cache)
    assert len(data) < 8192, "features are not sent"
    assert torch.equal(pickle.loads(data).stack(pictures), cache.stack(pictures))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    with pytest.raises(DataError, match=r"features/toy-\w+: cannot be written \(.*\); set QUARTET_CACHE"):
        FeatureCache(tmp_path / "features", ToyConfig(), "0" * 64)
