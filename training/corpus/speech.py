"""Source ``speech``: digits, words and short commands, spoken by espeak-ng (and flite) in many voices.

Tasks: ``speech/digits-en``, ``-ms``, ``speech/words-en``, ``-ms``, ``speech/commands-en``, ``-ms``; the label is the
text. Voices of the test split are never heard in training, whatever their accent. Clips are 16 kHz mono 16-bit WAV.

Synthetic voices are cleaner and more alike than people. So every clip has its own voice, accent, speed, pitch and
vocal tract length (resampling moves the formants), and most go through another microphone, room or telephone.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from training.corpus import clips, samples
from training.corpus.phrases import question
from training.corpus.registry import Context, Job, Plan
from training.corpus.words import COMMANDS, DIGITS, WORDS

ACCENTS = {
    "en": (
        "en-us", "en-us", "en-us-nyc", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd",
        "en-029",
    ),
    "ms": ("ms", "ms", "ms", "id"),
}  # fmt: skip
#: Variants that sound like people; left out: croak, whisper, robots, announcers, sound effects.
VARIANTS = {
    "train": (
        "m1", "m2", "m4", "m5", "m6", "m8", "f1", "f3", "f5", "Alex", "Alicia", "Andrea", "Andy", "Diogo", "Gene",
        "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mike", "adam", "anika", "antonio", "aunty", "belinda", "benjamin",
        "boris", "caleb", "ed", "edward", "iven2", "iven3", "john", "klatt", "klatt3", "linda", "max", "michel",
        "miguel", "norbert", "pablo", "paul", "quincy", "rob", "sandro", "shelby", "steph", "steph3", "travis",
        "victor",
    ),
    "test": (
        "m3", "m7", "f2", "f4", "Annie", "Denis", "Gene2", "Michael", "david", "iven", "klatt2", "marcelo", "pedro",
        "robert", "steph2", "zac",
    ),
}  # fmt: skip
#: Voices of flite, cut from recordings of people; English only, used when the program is there.
FLITE = {"train": ("kal16", "awb", "rms"), "test": ("slt",)}
_FLITE_SHARE = 0.15

#: clips per text: task -> (train, test). Digits have most, since people's are to be heard by them; a word needs some
#: fifty, since many sound alike ("bus", "bas").
CLIPS: dict[str, tuple[int, int]] = {
    "digits-en": (480, 24),
    "digits-ms": (160, 20),
    "words-en": (56, 4),
    "words-ms": (72, 5),
    "commands-en": (24, 10),
    "commands-ms": (24, 10),
}
_TEXTS: dict[str, dict[str, tuple[str, ...]]] = {"digits": DIGITS, "words": WORDS, "commands": COMMANDS}
_LICENCE = "CC0-1.0"


def plan(context: Context) -> Plan:
    """Plan all clips. Raises RuntimeError if espeak-ng is not installed."""
    if shutil.which("espeak-ng") is None:
        raise RuntimeError("speech: the program espeak-ng is missing; install it: apt-get install espeak-ng")
    flite = shutil.which("flite") is not None
    jobs: dict[str, Job] = {}
    splits: dict[str, list[samples.Sample]] = {"train": [], "test": []}
    for kind, counts in CLIPS.items():
        group, language = kind.split("-")
        for split, count in zip(("train", "test"), counts, strict=True):
            for place, text in enumerate(_TEXTS[group][language]):
                for index in range(count):
                    rng = random.Random(samples.seed("speech", context.seed, split, kind, text, index))
                    name = f"{split}-{kind}-{place:02d}-{index:03d}.wav"
                    jobs[name] = Job(render=render, arguments=_voice(rng, split, language, text, flite))
                    splits[split].append(_sample(rng, kind, group, language, text, f"media/{name}"))
    provenance: dict[str, Any] = {
        "licence": _LICENCE,
        "origin": "synthetic speech; the programs' licences do not cover what they say",
        "packages": [
            {
                "name": "espeak-ng",
                "origin": "debian",
                "version": _version("espeak-ng", "--version"),
                "licence": "GPL-3.0-or-later",
            },
            {
                "name": "flite",
                "origin": "debian",
                "version": _version("flite", "--version") if flite else None,
                "licence": "BSD-style",
            },
        ],
    }
    skipped: dict[str, int] = (
        {} if flite else {"voices of flite (apt-get install flite adds them)": len(FLITE["train"] + FLITE["test"])}
    )
    return Plan(train=splits["train"], test=splits["test"], jobs=jobs, provenance=provenance, skipped=skipped)


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else "unknown"


def _sample(rng: random.Random, kind: str, group: str, language: str, text: str, url: str) -> samples.Sample:
    key = group if rng.random() < 0.75 else "speech"
    return samples.sample(
        [samples.ask(rng, question(rng, key, language), samples.audio(url)), samples.answer(text)],
        task=f"speech/{kind}",
        language=language,
        source="speech",
        licence=_LICENCE,
        label=text,
    )


def _voice(rng: random.Random, split: str, language: str, text: str, flite: bool) -> dict[str, Any]:
    """The arguments of ``render``: a voice of the split, its way of speaking, and the seed of the augmentation."""
    if flite and language == "en" and rng.random() < _FLITE_SHARE:
        engine, voice = "flite", rng.choice(FLITE[split])
    else:
        engine, voice = "espeak-ng", f"{rng.choice(ACCENTS[language])}+{rng.choice(VARIANTS[split])}"
    return {
        "engine": engine,
        "voice": voice,
        "text": text,
        "speed": rng.randint(105, 195),
        "pitch": rng.randint(15, 85),
        "tract": rng.uniform(0.87, 1.17),
        "seed": rng.getrandbits(63),
    }


def render(*, engine: str, voice: str, text: str, speed: int, pitch: int, tract: float, seed: int) -> bytes:
    """Speak ``text`` and augment it; gives WAV bytes.

    Args:
        engine: ``espeak-ng`` or ``flite``.
        voice: a voice of that engine, for espeak-ng with ``+variant``.
        text: what to say.
        speed: words per minute.
        pitch: 0 to 99, 50 is the voice's own.
        tract: factor on all frequencies and on the tempo; above 1 a smaller speaker.
        seed: of the augmentation.
    """
    rng = np.random.default_rng(seed)
    spoken = speak(engine, voice, text, speed, pitch)
    wave = clips.stretch(clips.trim(clips.read(spoken)), tract)
    return clips.wav(clips.augment(wave, rng))


def speak(engine: str, voice: str, text: str, speed: int, pitch: int) -> bytes:
    """WAV bytes of ``text`` as the program says it. Raises RuntimeError with its message if it fails."""
    if engine == "espeak-ng":
        command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", "--", text]
        done = subprocess.run(command, capture_output=True, check=False)
        data = done.stdout
    else:
        with tempfile.TemporaryDirectory() as folder:  # flite writes WAV only to a file that can be rewound
            path = Path(folder) / "spoken.wav"
            command = [
                "flite",
                "-voice",
                voice,
                "--setf",
                f"duration_stretch={150 / speed:.3f}",
                "-t",
                text,
                "-o",
                str(path),
            ]
            done = subprocess.run(command, capture_output=True, check=False)
            data = path.read_bytes() if path.exists() else b""
    if done.returncode or not data:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip() or 'no sound'}")
    return data
