"""Speech: voices never cross the split; the clips themselves are made only where espeak-ng is installed."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.corpus import build, clips, samples, speech
from training.corpus.registry import Context, Plan
from training.corpus.words import COMMANDS, DIGITS, WORDS

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(speech.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(speech, "_version", lambda *_: "1.51")
    return speech.plan(Context(output=Path(), cache=Path()))


def test_test_voices_are_never_heard_in_training(plan: Plan) -> None:
    heard: dict[str, set[str]] = {}
    for split in ("train", "test"):
        names = [samples.media(value)[0].removeprefix("media/") for value in getattr(plan, split)]
        heard[split] = {plan.jobs[name].arguments["voice"].split("+")[-1] for name in names}
    assert not heard["train"] & heard["test"]
    assert len(heard["train"]) > 40
    assert not (heard["train"] | heard["test"]) & {"croak", "whisper", "whisperf"}


def test_digits_have_by_far_the_most_voices(plan: Plan) -> None:
    labels = [value["meta"]["label"] for value in plan.train if value["meta"]["task"] == "speech/digits-en"]
    assert all(labels.count(digit) >= 150 for digit in DIGITS["en"])
    assert {value["meta"]["label"] for value in plan.test} == {
        text for table in (DIGITS, WORDS, COMMANDS) for texts in table.values() for text in texts
    }


def test_words_are_short_lower_case_and_unique() -> None:
    for table in (DIGITS, WORDS, COMMANDS):
        for texts in table.values():
            assert len(set(texts)) == len(texts)
            assert all(text == text.lower() and len(text.split()) <= 5 for text in texts)


def test_missing_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="apt-get install espeak-ng"):
        build(tmp_path, sources=["speech"])


@needs_espeak
def test_clips_are_16_khz_mono_and_as_loud_as_speech(tmp_path: Path) -> None:
    report = build(tmp_path, sources=["speech"], limit=18)
    assert set(report.sources["speech"].tasks) == {f"speech/{kind}" for kind in speech.CLIPS}
    for path in (tmp_path / "speech/media").iterdir():
        wave, rate = soundfile.read(path)
        assert rate == clips.RATE
        assert wave.ndim == 1
        assert soundfile.info(path).subtype == "PCM_16"
        assert 0.1 < len(wave) / rate < 4
        assert 0.01 < clips.rms(wave) < 0.25


@needs_espeak
def test_a_clip_is_a_function_of_its_arguments() -> None:
    arguments = {"engine": "espeak-ng", "voice": "en-us+f3", "text": "seven", "speed": 150, "pitch": 60, "tract": 1.1}
    one, two, other = (speech.render(**arguments, seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert one == two != other


@needs_espeak
def test_unknown_voice_is_an_error_with_the_command() -> None:
    with pytest.raises(RuntimeError, match="espeak-ng -v xx-nowhere"):
        speech.speak("espeak-ng", "xx-nowhere", "seven", 150, 50)


def test_augmentation_keeps_length_level_and_band() -> None:
    rng = np.random.default_rng(0)
    wave = clips.noise(rng, clips.RATE) * np.float32(0.1)
    for seed in range(20):
        made = clips.augment(wave, np.random.default_rng(seed))
        assert made.dtype == np.float32
        assert np.isfinite(made).all()
        assert np.abs(made).max() <= 0.981
        assert 0.9 * len(wave) < len(made) < 2 * len(wave)
    thin = np.abs(np.fft.rfft(clips.telephone(wave, rng)))
    assert (thin[6000:] ** 2).sum() < 0.01 * (thin[:4000] ** 2).sum()


def test_wave_tools() -> None:
    wave = np.concatenate([np.zeros(8000), np.ones(1600), np.zeros(8000)]).astype(np.float32)
    assert len(clips.trim(wave)) == pytest.approx(1600 + 320, abs=1)
    assert clips.trim(np.zeros(100, dtype=np.float32)).size == 100
    assert clips.rms(clips.normalise(wave, 0.1)) == pytest.approx(0.1)
    assert len(clips.stretch(wave, 1.25)) == pytest.approx(len(wave) / 1.25, abs=2)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([wave, wave], axis=1), 8000, format="WAV")
    assert len(clips.read(buffer.getvalue())) == pytest.approx(2 * len(wave), abs=4)
