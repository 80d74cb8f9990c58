"""Peak memory of a recipe's training, phase by phase.

    quartet data build corpus
    python benchmarks/training_memory.py demo corpus --steps 20

Memory is what the process and its children hold (`training.report.resident`), as in a run's `report.md`. It hardly
grows after the first steps: batches are of a few shapes, and they are shuffled. The checkpoint goes to a temporary
folder, and media that are not in the feature cache yet are encoded.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from training.problems import ProblemLog
from training.recipe import Recipe, read_recipe
from training.report import Machine
from training.run import LOGGING_STEPS, build, prepare_stages, save, surroundings
from training.saved import stage_folder
from training.signals import Stop
from training.trainer import train_stage
from training.weights import recorded


@contextmanager
def watched(phase: str) -> Iterator[None]:
    """Print the most memory there was in the block."""
    with Machine() as machine:
        yield
        peak = machine.now().peak_memory
    print(f"{phase:9} {peak / (1 << 30):5.2f} GiB", flush=True)


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with so many steps in each stage."""
    return replace(recipe, stages=[replace(stage, epochs=1, steps=steps) for stage in recipe.stages])


def measure(recipe: Recipe, corpus: Path, folder: Path) -> None:
    """Train and print the peak of each phase."""
    problems = ProblemLog()
    with watched("build"):
        built = build(recipe, corpus, folder, problems)
    with watched("tokenise"):
        stages = prepare_stages(built, corpus, problems)
    built = replace(built, samples={}, parts=replace(built.parts, samples={}))
    for prepared in stages:
        stage = prepared.stage
        with watched(stage.name):
            train_stage(
                built.model,
                stage,
                prepared.data,
                prepared.collator,
                stage_folder(folder, stage.name),
                validator=prepared.validator,
                around=surroundings(recipe, folder, Stop(), stage, LOGGING_STEPS),
            )
    with watched("save"):
        save(folder / "checkpoint", built, {})


def main() -> None:
    """Print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a recipe file or the name of a shipped one")
    parser.add_argument("corpus", type=Path, help="folder of its sources")
    parser.add_argument("--steps", type=int, default=20, help="of each stage")
    options = parser.parse_args()
    with watched("start"):
        pass
    with tempfile.TemporaryDirectory() as folder:
        recipe = shortened(recorded(read_recipe(options.recipe), Path(folder)), options.steps)
        print(f"{recipe.dtype}, {'compiled' if recipe.compile else 'not compiled'}, {options.steps} steps a stage")
        measure(recipe, options.corpus, Path(folder))


if __name__ == "__main__":
    main()
