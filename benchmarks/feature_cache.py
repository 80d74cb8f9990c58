"""What the feature cache saves: the encoder's cost once, against reading features ever after.

    quartet data build corpus --source scenes
    python benchmarks/feature_cache.py corpus/scenes/train.jsonl --recipe demo

For each modality of the samples: decoding in threads against processes, filling the cache with one worker against two
(in turns, the median of the rounds, because other work on the machine comes and goes), a second `ensure`, checking all
features, and reading them in random order one by one and in batches. Everything is written to a temporary folder.
"""

import argparse
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from model.encoders import EncoderConfig, encoder_config, load_state
from model.sources import Source, fetch
from training.cache import FeatureCache
from training.cache.features import prepare_medium
from training.data import MediaRef, read_samples
from training.parts import encode_media, media_files
from training.recipe import ModalityRecipe, read_recipe

WORKERS = (1, 2)
BATCH = 32


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decode(config: EncoderConfig, path: Path) -> Tensor:
    """One medium, ready for the encoder."""
    return prepare_medium(config, path)


def decoding(config: EncoderConfig, paths: Sequence[Path], rounds: int) -> None:
    """Media per second of decoding alone, by kind and number of workers."""
    rates: dict[tuple[str, int], list[float]] = {}
    context = multiprocessing.get_context("forkserver")
    # Or else every process would import everything anew.
    context.set_forkserver_preload([prepare_medium.__module__])
    for _ in range(rounds):
        for count in WORKERS:
            pools: dict[str, Executor] = {
                "threads": ThreadPoolExecutor(count),
                "processes": ProcessPoolExecutor(count, context, torch.set_num_threads, (1,)),
            }
            for kind, pool in pools.items():
                with pool:
                    # Processes start with their first task.
                    list(pool.map(partial(decode, config), paths[: 2 * count]))
                    work = partial(pool.map, partial(decode, config), paths, chunksize=8)
                    rates.setdefault((kind, count), []).append(len(paths) / seconds(lambda work=work: list(work())))
    for (kind, count), found in rates.items():
        print(f"  decode, {count} {kind}: {statistics.median(found):.0f} media/s")


def filling(modality: ModalityRecipe, state: dict[str, Tensor], references: list[MediaRef], rounds: int) -> float:
    """Seconds per medium of filling an empty cache with one worker."""
    rates: dict[int, list[float]] = {count: [] for count in WORKERS}
    for _ in range(rounds):
        for count in WORKERS:
            with tempfile.TemporaryDirectory() as folder:
                cache = FeatureCache(Path(folder), encoder_config(modality.encoder), modality.sha256)
                taken = seconds(lambda cache=cache, count=count: encode_media(cache, references, state, workers=count))
                rates[count].append(len(references) / taken)
    medians = {count: statistics.median(found) for count, found in rates.items()}
    for count, rate in medians.items():
        print(f"  fill, {count} workers: {rate:.1f} media/s ({rate / medians[1]:.2f} of one worker's)")
    return 1 / medians[1]


def reading(modality: ModalityRecipe, state: dict[str, Tensor], references: list[MediaRef], cost: float) -> None:
    """What everything but the first run pays."""
    with tempfile.TemporaryDirectory() as folder:
        opened = partial(FeatureCache, Path(folder), encoder_config(modality.encoder), modality.sha256)
        encode_media(opened(), references, state)
        # Files that were written a moment ago are hashed again, because their times are too coarse to tell.
        time.sleep(2.5)
        encode_media(opened(), references, state)
        cache = opened()
        again = seconds(lambda: encode_media(cache, references, state))
        print(f"  ensure again: {again:.3f} s, {cost * len(references) / again:.0f} times as fast as the first time")
        order = random.Random(0).sample(references, len(references))
        fresh = opened()
        print(f"  check all: {len(references) / seconds(fresh.verify):.0f} media/s")
        one = seconds(lambda: [cache.get(reference) for reference in order]) / len(order)
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        many = seconds(lambda: [cache.stack(batch) for batch in batches]) / len(order)
        for name, each in (("one by one", one), (f"in batches of {BATCH}", many)):
            print(f"  read, {name}: {1 / each:.0f} media/s, {cost / each:.0f} times as fast as encoding")


def main() -> None:
    """Print the numbers of each modality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, nargs="+", help="files of samples")
    parser.add_argument("--recipe", type=Path, default=Path("demo"))
    parser.add_argument("--media", type=int, default=512, help="most media of each modality")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    samples = [read_samples(path) for path in arguments.samples]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Ratios of numbers of workers mean little where others compete for the cores: who has more threads gets more.
    print(
        f"{device}, {torch.get_num_threads()} threads of torch, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    for name, modality in read_recipe(arguments.recipe).modalities.items():
        references = media_files(samples, name)
        references = random.Random(0).sample(references, min(arguments.media, len(references)))
        if not references:
            continue
        config = encoder_config(modality.encoder)
        state = config.convert(load_state(fetch(Source.parse(modality.source), sha256=modality.sha256)))
        print(f"{name}: {len(references)} media, {config.family} [{config.length}, {config.dim}]")
        decoding(config, [reference.path for reference in references], arguments.rounds)
        cost = filling(modality, state, references, arguments.rounds)
        reading(modality, state, references, cost)


if __name__ == "__main__":
    main()
