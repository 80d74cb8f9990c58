"""A place where the `quartet` commands of the README really run, in minutes less and megabytes instead of gigabytes.

What is put in the place of what, and nothing else:

* the language model and encoders of the recipe: tiny random ones, so recipes may be longer in tokens;
* the recipe `demo`: the README's own recipe with these parts and the demo's sources (the real one takes an hour);
* the user's folder of captioned pictures and sounds: a few drawn blocks and chords;
* the corpus: a few drawn scenes and a few tones instead of speech;
* `quartet serve`: everything up to the moment in which the process would become vLLM's server.
"""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from model import cli
from model.sources import sha256_of
from server import launcher
from server.settings import ServerSettings
from tests.docs.markdown import Block
from tests.support.tiny import ENCODERS, build_checkpoint, picture_bytes, sound_bytes

RECIPE, DEMO = "my-llm.yaml", "demo-of-tiny-parts.yaml"
SAMPLES = 24


@dataclass
class Workshop:
    """A folder and what was done in it."""

    folder: Path
    recipe: dict[str, Any]
    """The README's recipe, as it stands there."""
    done: list[str] = field(default_factory=list)
    served: list[list[str]] = field(default_factory=list)
    """Flags that vLLM's server would have been given."""

    def prepare(self) -> None:
        """Make the tiny parts, and the recipe that names them."""
        parts = build_checkpoint(self.folder / "parts").parent
        shutil.copytree(parts / "llm", self.folder / "my-llm")
        values = json.loads(json.dumps(self.recipe))
        for modality, family in (("image", "clip"), ("audio", "whisper")):
            weights = parts / f"{modality}.safetensors"
            values["modalities"][modality] |= {
                "source": f"file:parts/{weights.name}",
                "sha256": sha256_of(weights),
                "encoder": ENCODERS[family],
            }
        for stage in values["stages"]:
            stage |= {"max_length": 512, "batch_tokens": 2048}  # the tiny tokenizer knows hardly any word
        (self.folder / RECIPE).write_text(yaml.safe_dump(values))
        for stage in values["stages"]:
            stage["data"] = [{"source": "scenes", "turns": 5}, {"source": "speech", "turns": 5}]
        (self.folder / DEMO).write_text(yaml.safe_dump(values))
        things = self.folder / "things"
        things.mkdir()
        for seed in range(SAMPLES):
            (things / f"picture-{seed}.png").write_bytes(picture_bytes(seed))
            (things / f"sound-{seed}.wav").write_bytes(sound_bytes(seed))
            for name in ("picture", "sound"):
                (things / f"{name}-{seed}.txt").write_text(f"{name} number {seed}")

    def run(self, blocks: Sequence[Block]) -> str:
        """Run the commands of blocks that were not run yet; returns what the last one printed."""
        shown = ""
        for block in blocks:
            if str(block) not in self.done:
                self.done.append(str(block))
                shown = "".join(self.quartet(words[1:]) for words in block.commands)
        return shown

    def quartet(self, words: list[str]) -> str:
        """Run one command line as `quartet` would; returns its output."""
        if words[:2] == ["data", "build"]:
            words = [*words, "--source", "scenes", "--limit", str(SAMPLES)]
        if words[:2] == ["train", "demo"]:
            words = ["train", DEMO, *words[2:]]
        output = io.StringIO()
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as end:
            cli.main(words)
        assert end.value.code in (0, None), f"quartet {' '.join(words)} ended with status {end.value.code}"
        if words[:2] == ["data", "build"]:
            self._speak(Path(words[2]))
        return output.getvalue()

    def _speak(self, corpus: Path) -> None:
        """A corpus source of tones, in the place of what espeak-ng would say."""
        for split, seeds in (("train", range(SAMPLES)), ("test", range(SAMPLES, SAMPLES + 8))):
            (corpus / "speech/media").mkdir(parents=True, exist_ok=True)
            lines = []
            for seed in seeds:
                (corpus / f"speech/media/{seed}.wav").write_bytes(sound_bytes(seed, 0.3))
                digit = ["zero", "one", "two", "three"][seed % 4]
                question = [{"type": "text", "text": "Hear: "}, _audio(f"media/{seed}.wav")]
                messages = [{"role": "user", "content": question}, {"role": "assistant", "content": digit}]
                meta = {"task": "speech/digits-en", "language": "en", "label": digit}
                lines.append(json.dumps({"id": f"speech/{split}/{seed}", "messages": messages, "meta": meta}))
            (corpus / f"speech/{split}.jsonl").write_text("\n".join(lines) + "\n")


def _audio(url: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


@contextlib.contextmanager
def workshop(folder: Path, recipe: dict[str, Any]) -> Iterator[Workshop]:
    """A prepared workshop in `folder`, which is the working directory meanwhile."""
    place = Workshop(folder, recipe)

    def serve(settings: ServerSettings, extra: Sequence[str] = ()) -> None:
        place.served.append([*launcher.prepare(settings), *extra])

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUARTET_CACHE", str(folder / "cache"))
        patch.setattr(launcher, "launch", serve)
        place.prepare()
        yield place
