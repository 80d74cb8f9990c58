"""Ablations: what a recipe's choices are worth, measured by training it again with one of them changed.

changes   values of a recipe replaced by path
sweep     a YAML file: a base recipe, axes of changes, seeds, tasks
subset    the part of a corpus that a run trains on and is asked about
trial     one run: train, evaluate, write down
worker    a process that carries out trials, one after the other
runner    all trials of some sweeps, several at a time, resumable
summary   trials -> means and standard errors per setting, differences, samples saved
report    report.md and results.json
plot      scores.png
"""

from training.ablation.runner import ablate
from training.ablation.sweep import Sweep, read_sweep

__all__ = ["Sweep", "ablate", "read_sweep"]
