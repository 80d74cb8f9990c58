"""Samples per second of a recipe's training beside a plain loop, and what encoders cost it.

    quartet data build corpus
    python benchmarks/training_speed.py demo corpus

Three loops take turns, so that whatever else the machine does hits all of them alike; ratios are those of each round.
Beside the wall time stands the processor's time of the process, which is the same on a busy machine.

quartet    cached features, samples joined into conversations, batches of one length, what all rows begin with computed
           once, logits where an answer is
plain      transformers as it comes: every sample a row, media decoded and encoded in the step, batches in random order
           padded to their longest row, logits of every position; the same weights, precision, optimizer and, on
           average, as many samples per batch
text       quartet's own batches with words in the place of media, no features and no projectors, the adapter on: what a
           run would cost without eyes and ears. The ratio is the price of media once they are cached, that is, from the
           second epoch

Compilation, the first encoding of the media and one warm-up round are not counted; all three run the same number of
batches. On an accelerator the model FLOP utilisation of quartet's loop is printed too (Chowdhery et al. 2022, appendix
B): 6 FLOP per parameter and token where a weight is trained, 4 where gradients only pass through it.
"""

import argparse
import operator
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.adapter import MEDIA
from model.encoders import encode, load_state
from model.prompt import IGNORE
from model.reference import QuartetForConditionalGeneration
from model.shared_prefix import sharing
from training.batches import Batch, LengthBatches
from training.cache.features import prepare_medium
from training.data import Sample
from training.dataset import Row, encode_row
from training.initialisation import CONCEPTS
from training.mixture import mix
from training.parts import build_encoder
from training.problems import ProblemLog
from training.recipe import read_recipe
from training.run import Built, Prepared, build, prepare_stages
from training.selection import parameter_groups
from training.weights import recorded

# Dense bfloat16 peak, TFLOP/s, from the makers' data sheets.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0}
Step = Callable[[], tuple[int, int]]


@dataclass(frozen=True)
class Pace:
    """What some batches took."""

    samples: int
    tokens: int
    seconds: float
    """By the clock."""
    processor: float
    """Of the processor, in this process."""


@dataclass(frozen=True)
class Loop:
    """One of the three: each step trains one batch and gives its samples and tokens."""

    name: str
    step: Step

    def run(self, steps: int) -> Pace:
        """Train so many batches."""
        begun, before = time.perf_counter(), time.process_time()
        done = [self.step() for _ in range(steps)]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds, processor = time.perf_counter() - begun, time.process_time() - before
        return Pace(sum(samples for samples, _ in done), sum(tokens for _, tokens in done), seconds, processor)


Of = Callable[[Pace], float]
SAMPLES: Of = operator.attrgetter("samples")
TOKENS: Of = operator.attrgetter("tokens")
SECONDS: Of = operator.attrgetter("seconds")
PROCESSOR: Of = operator.attrgetter("processor")


def quartet(built: Built, prepared: Prepared, batches: Sequence[Batch], optimizer: torch.optim.Optimizer) -> Step:
    """A batch of ours."""
    plan = endless(batches)

    def step() -> tuple[int, int]:
        batch = next(plan)
        inputs = prepared.collator([prepared.data[index] for index in batch.rows])
        inputs = {
            name: value.to(built.model.device) if isinstance(value, Tensor) else value for name, value in inputs.items()
        }
        update(built.model, built.model(**inputs).loss, optimizer)
        return batch.samples, batch.tokens

    return step


def text(built: Built, prepared: Prepared, batches: Sequence[Batch], optimizer: torch.optim.Optimizer) -> Step:
    """The same batches without media."""
    plan, model = endless(batches), built.model
    media = torch.tensor(list(built.config.media_token_ids.values()))
    word = prepared.data[0].input_ids[-1]

    def embed(input_ids: Tensor, features: object) -> Tensor:
        # As projected media do, they want a gradient, so the backward pass goes as far.
        return model.get_input_embeddings()(input_ids).requires_grad_()  # type: ignore[no-any-return]

    def step() -> tuple[int, int]:
        batch = next(plan)
        rows = [prepared.data[index] for index in batch.rows]
        inputs = prepared.collator([Row(row.input_ids, row.labels, []) for row in rows])
        ids = inputs["input_ids"]
        ids[torch.isin(ids, media)] = word
        # An adapter of scope `media` would be off for words, and cost nothing.
        model.embed, model._adapted = embed, nullcontext  # type: ignore[method-assign, assignment]
        try:
            given = {"labels": inputs["labels"].to(model.device), "prefix": prepared.collator.prefix}
            loss = model(ids.to(model.device), **given).loss
        finally:
            del model.embed, model._adapted
        update(model, loss, optimizer)
        return batch.samples, batch.tokens

    return step


def plain(built: Built, samples: Sequence[Sample], size: int, optimizer: torch.optim.Optimizer) -> Step:
    """What one would write without Quartet."""
    model, parts = built.model, built.parts
    encoders: dict[str, nn.Module] = {}
    for name, cache in parts.caches.items():
        encoders[name] = build_encoder(cache.config, cache.config.convert(load_state(parts.weights[name])))
    shuffled = endless(random.Random(0).sample(list(samples), len(samples)))
    pad = int(built.prompt.tokenizer.pad_token_id or 0)

    def step() -> tuple[int, int]:
        chosen = [next(shuffled) for _ in range(size)]
        rows = [encode_row(built.prompt, sample) for sample in chosen]
        length = max(len(row.input_ids) for row in rows)
        ids = torch.tensor([row.input_ids + [pad] * (length - len(row.input_ids)) for row in rows])
        labels = torch.tensor([row.labels + [IGNORE] * (length - len(row.labels)) for row in rows])
        features: dict[str, Tensor] = {}
        for name, encoder in encoders.items():
            media = [medium for row in rows for medium in row.media if medium.modality == name]
            if media:
                with torch.no_grad():
                    inputs = [prepare_medium(parts.caches[name].config, medium.path) for medium in media]
                    features[name] = torch.stack(encode(encoder, inputs, len(inputs)))
        embeddings = model.embed(ids.to(model.device), features)
        with eager(model):
            output = model.language_model(inputs_embeds=embeddings, labels=labels.to(model.device), use_cache=False)
            update(model, output.loss, optimizer)
        return size, sum(len(row.input_ids) for row in rows)

    return step


@contextmanager
def eager(model: QuartetForConditionalGeneration) -> Iterator[None]:
    """Compile nothing, and choose the attention as transformers does by default."""
    before = model.language_model.config._attn_implementation
    model.language_model.set_attn_implementation("sdpa")
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.language_model.set_attn_implementation(before)


def update(model: QuartetForConditionalGeneration, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Backward pass and optimizer step."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
    optimizer.step()
    optimizer.zero_grad()


def endless(items: Sequence[Any]) -> Iterator[Any]:
    """Over and over."""
    while True:
        yield from items


def flop_per_token(model: QuartetForConditionalGeneration) -> float:
    """Of forward and backward pass, without attention; an upper bound of neither, as in the source."""
    table = model.get_input_embeddings().weight.numel()
    weights = [p for name, p in model.language_model.named_parameters()]
    return sum((6 if p.requires_grad else 4) * p.numel() for p in weights) - 4.0 * table


def main() -> None:
    """Print the three speeds and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a recipe file or the name of a shipped one")
    parser.add_argument("corpus", type=Path, help="folder of its sources")
    parser.add_argument("--stage", type=int, default=-1, help="which stage of the recipe, by default the last")
    parser.add_argument("--rounds", type=int, default=5, help="times the loops take turns")
    parser.add_argument("--steps", type=int, default=6, help="batches of each loop in a round")
    parser.add_argument("--peak", type=float, help="the accelerator's dense peak in the recipe's dtype, TFLOP/s")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        recipe = recorded(read_recipe(options.recipe), Path(folder))
        problems = ProblemLog()
        built = build(recipe, options.corpus, Path(folder), problems)
        prepared = prepare_stages(built, options.corpus, problems)[options.stage]
        model, stage = built.model, prepared.stage
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        optimizer = torch.optim.AdamW(parameter_groups(model.named_parameters(), stage.learning_rates))
        model.eval()
        if prepared.collator.prefix:
            stack.enter_context(sharing(model.language_model))
        apart = model.config.adapter_scope == MEDIA
        batches = LengthBatches(prepared.data, prepared.collator.lengths, stage, recipe.seed, apart=apart)
        size = round(statistics.mean(batch.samples for batch in batches.plan))
        # Synthetic features have no file that could be encoded on line.
        real = [
            s
            for source, members in mix(stage, built.samples, recipe.seed).items()
            if source != CONCEPTS
            for s in members
        ]
        loops = [
            Loop("quartet", quartet(built, prepared, batches.plan, optimizer)),
            Loop("plain", plain(built, real, size, optimizer)),
            Loop("text", text(built, prepared, batches.plan, optimizer)),
        ]
        if recipe.compile:
            # Every shape once, so that nothing is compiled while it is timed.
            shapes = {(batch.length, bool(prepared.data.media[batch.rows[0]])): batch for batch in batches.plan}
            plans = list(shapes.values())
            Loop("warm", quartet(built, prepared, plans, optimizer)).run(len(plans))
            Loop("warm", text(built, prepared, plans, optimizer)).run(len(plans))
        for loop in loops:
            loop.run(1)
        rounds = []
        for number in range(options.rounds):
            rounds.append([loop.run(options.steps) for loop in loops])
            spent = ", ".join(f"{loop.name} {p.processor:.1f} s" for loop, p in zip(loops, rounds[-1], strict=True))
            print(f"round {number + 1} of {options.rounds}, time of the processor: {spent}", flush=True)
    print(f"padding {100 * batches.padding:.1f} %, {size} samples a batch, {options.rounds} rounds of {options.steps}")
    for loop, *paces in zip(loops, *rounds, strict=True):
        print(f"{loop.name:8} {speed(paces, SECONDS)} by the clock, {speed(paces, PROCESSOR)} of the processor")
    compare("quartet / plain, samples/s", lambda a, b, _: (a.samples / b.samples, b, a), rounds)
    compare("quartet / text, time for the same batches", lambda a, _, c: (1.0, a, c), rounds)
    peak = options.peak or next((PEAKS[name] for name in PEAKS if cuda_name().endswith(name)), None)
    if torch.cuda.is_available() and peak is not None:
        ours = [paces[0] for paces in rounds]
        share = flop_per_token(model) * total(ours, TOKENS) / total(ours, SECONDS) / (peak * 1e12)
        print(f"model FLOP utilisation of quartet: {100 * share:.1f} % of {peak:.0f} TFLOP/s")


def total(paces: Sequence[Pace], what: Of) -> float:
    """Of several rounds."""
    return sum(what(pace) for pace in paces)


def speed(paces: Sequence[Pace], time_of: Of) -> str:
    """Samples and tokens per second."""
    samples, tokens = (total(paces, what) / total(paces, time_of) for what in (SAMPLES, TOKENS))
    return f"{samples:7.2f} samples/s {tokens:7.0f} tokens/s"


def compare(what: str, ratio: Callable[..., tuple[float, Pace, Pace]], rounds: Sequence[Sequence[Pace]]) -> None:
    """Print the median and the extremes of a ratio of times over rounds, by the clock and of the processor."""
    texts = []
    for name, time_of in (("by the clock", SECONDS), ("of the processor", PROCESSOR)):
        found = [factor * time_of(over) / time_of(under) for factor, over, under in (ratio(*paces) for paces in rounds)]
        texts.append(f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f}) {name}")
    print(f"{what}: {', '.join(texts)}")


def cuda_name() -> str:
    """Of the accelerator; empty without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


if __name__ == "__main__":
    main()
