"""Any language model works by configuration alone, and text without media is untouched by Quartet.

These models run in vLLM without a server, in one other process for all of them.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from model.assembly import assemble, pack
from model.llm import load_llm
from server.settings import ServerSettings
from tests.support.offline import MAX_TOKENS
from tests.support.recipes import train
from tests.support.reference import Reference, audio, image, user
from tests.support.serving import ServerProcess
from tests.support.tiny import build_checkpoint
from tests.training.parts import write_corpus

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT: list[list[dict[str, Any]]] = [
    [user("What do you see?")],
    [{"role": "system", "content": "You answer in one word."}, user("Hello, who are you?")],
    [user("A"), {"role": "assistant", "content": "B"}, user("Compare the two: 🐈 apakah ini?")],
]
MEDIA: list[list[dict[str, Any]]] = [
    [user("What is this? ", image(0))],
    [user("Compare ", image(0), image(1), audio(0))],
    [user("Compare ", image(1), image(0), audio(0))],
    [user(audio(1), " and "), {"role": "assistant", "content": "Yes."}, user(image(2), audio(2), " again")],
    [user("Compare ", image(0), image(1), " with ", audio(0), audio(1), ".")],
    [user("Bandingkan ", image(0), audio(0), " dengan ", image(1), audio(1), ": apakah bezanya?")],
]


@dataclass(frozen=True)
class Variant:
    """A model for the engine: a random checkpoint, or what a shipped recipe trains at tiny size."""

    built: dict[str, Any] = field(default_factory=dict)
    """Arguments of `build_checkpoint`."""
    recipe: str | None = None
    lora: bool = False
    packed: bool = False

    def make(self, folder: Path, corpus: Path, seed: int) -> Path:
        """The checkpoint's directory."""
        if self.recipe is not None:
            return train(self.recipe, folder, corpus, ["scenes", "tones", "dialogs"]).directory
        checkpoint = build_checkpoint(folder, seed=seed, **self.built)
        if self.lora:
            add_adapter(checkpoint)
        return checkpoint


# Everything but Llama + CLIP + Whisper, which the server runs. The recipes have the remaining encoders and projectors:
# ImageBind for both modalities; SigLIP patches, Whisper frames and a convolution over them.
VARIANTS = {
    "Mistral, SigLIP, 4 tokens, LoRA": Variant({"llm": "mistral", "image": "siglip"}, lora=True),
    "Qwen2, EfficientNet, 3 tokens, packed": Variant(
        {"llm": "qwen2", "image": "efficientnet", "tokens": 3}, packed=True
    ),
    "recipe s3": Variant(recipe="s3"),
    "recipe mmmmodal, packed": Variant(recipe="mmmmodal", packed=True),
}


def add_adapter(checkpoint: Path) -> None:
    """A random LoRA adapter of the language model, as training writes it."""
    from peft import LoraConfig, get_peft_model

    model = load_llm(checkpoint.parent / "llm", torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(str(checkpoint / "adapter"))


@pytest.fixture(scope="module")
def outputs(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Reference]]:
    """What vLLM answers for every variant and for the plain language model; and the references."""
    folder = tmp_path_factory.mktemp("engines")
    references: dict[str, Reference] = {}
    jobs = [{"model": str(tiny_checkpoint.parent / "llm"), "conversations": TEXT}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(folder / "cache"))
        corpus = write_corpus(folder / "corpus", 2)
        for number, (name, variant) in enumerate(VARIANTS.items()):
            checkpoint = variant.make(folder / str(number), corpus, number)
            references[name] = Reference.load(checkpoint)
            served = pack(checkpoint, folder / f"packed-{number}") if variant.packed else assemble(checkpoint)
            jobs.append({"model": str(served), "conversations": TEXT + MEDIA})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    environment = ServerSettings(device="cpu").environment(os.environ) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.offline", str(folder / "jobs.json"), str(folder / "out.json")],
        cwd=REPOSITORY,
        env=environment | {"VLLM_PLUGINS": "quartet", "VLLM_MEDIA_CONNECTOR": "http"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    plain, *others = json.loads((folder / "out.json").read_text())
    return {"plain": plain, **dict(zip(VARIANTS, others, strict=True))}, references


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_equals_its_reference(outputs: tuple[dict[str, Any], dict[str, Reference]], name: str) -> None:
    given, references = outputs
    for messages, output in zip(TEXT + MEDIA, given[name], strict=True):
        expected = references[name].answer(messages, MAX_TOKENS)
        assert output["prompt_ids"] == references[name].ids(messages)
        assert output["token_ids"] == expected.token_ids
        assert output["logprobs"] == pytest.approx(expected.logprobs, abs=1e-3)


def test_text_is_that_of_the_plain_language_model(
    server: ServerProcess, outputs: tuple[dict[str, Any], dict[str, Reference]]
) -> None:
    """Same prompt ids, same tokens, same log-probabilities as the wrapped model served by vLLM without Quartet."""
    for messages, plain in zip(TEXT, outputs[0]["plain"], strict=True):
        body = server.chat(messages, logprobs=True, return_token_ids=True, max_tokens=MAX_TOKENS).json()
        choice = body["choices"][0]
        assert body["prompt_token_ids"] == plain["prompt_ids"]
        assert choice["token_ids"] == plain["token_ids"]
        assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == pytest.approx(
            plain["logprobs"], abs=1e-5
        )
