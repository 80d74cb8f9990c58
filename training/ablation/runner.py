"""All trials of some sweeps, several at a time.

Whatever has ended is never done again, so an interrupted sweep is continued by the same command. A trial that fails is
recorded, and the others go on; one that kills its process (memory) costs that process only.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from model.errors import ConfigurationError
from training.ablation.report import Facts, write_report
from training.ablation.subset import corpus_hash
from training.ablation.summary import Outcome, summarise
from training.ablation.sweep import Setting, Sweep
from training.ablation.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trials of some sweeps."""

    trials: dict[str, Trial]
    """By identity, in the order in which they are carried out."""
    names: dict[str, str]
    """Identity -> what it is called."""
    members: dict[str, list[tuple[Setting, int, str]]]
    """Sweep -> setting, seed and identity of its trials."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How trials are carried out."""

    jobs: int = 1
    """Processes."""
    threads: int = 1
    """Of each process."""
    keep: bool = False
    """Whether checkpoints stay."""
    retry: bool = False
    """Whether trials that failed are tried again."""
    minutes: float | None = None
    """After so many, no further trial is begun."""


def ablate(sweeps: Sequence[Sweep], corpus: Path, output: Path, *, options: Options, command: str = "") -> Path:
    """Carry out what is missing of some sweeps and write the report.

    Args:
        sweeps: the sweeps; settings that they share are trained once.
        corpus: folder with `<source>/train.jsonl` and `test.jsonl`.
        output: of this or an earlier call; see `training.ablation.trial`.
        options: how.
        command: as it is shown in the report.

    Returns:
        The report.

    Raises:
        ConfigurationError: a sweep that cannot work.
        DataError: the corpus lacks a source.
    """
    output.mkdir(parents=True, exist_ok=True)
    planned = plan(sweeps, corpus, output)
    if options.retry:
        for trial in planned.trials.values():
            trial.forget_error()
    Pool(planned, options).run()
    outcomes = {
        sweep.name: [
            Outcome(setting, seed, planned.trials[identity].result, planned.trials[identity].error)
            for setting, seed, identity in planned.members[sweep.name]
        ]
        for sweep in sweeps
    }
    facts = Facts.here(command=command, corpus=corpus.name, jobs=options.jobs, threads=options.threads)
    return write_report(output, [summarise(sweep, outcomes[sweep.name]) for sweep in sweeps], facts)


def plan(sweeps: Sequence[Sweep], corpus: Path, output: Path) -> Plan:
    """Describe every trial in its folder. One seed of everything comes before the next seed of anything."""
    names = [sweep.name for sweep in sweeps]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"sweeps: two of {', '.join(names)} share a name")
    settings = {sweep.name: sweep.settings() for sweep in sweeps}
    hashes: dict[tuple[str, ...], str] = {}
    found: list[tuple[int, str, Setting, int]] = []
    for sweep in sweeps:
        found += [(i, sweep.name, s, seed) for s in settings[sweep.name] for i, seed in enumerate(sweep.seeds)]
    found.sort(key=lambda entry: entry[0])
    trials: dict[str, Trial] = {}
    labels: dict[str, str] = {}
    members: dict[str, list[tuple[Setting, int, str]]] = {name: [] for name in names}
    for _, name, setting, seed in found:
        seeded = setting.seeded(seed)
        sources = tuple(seeded.subset.sources)
        if sources not in hashes:
            hashes[sources] = corpus_hash(corpus, sources)
        identity = seeded.identity(hashes[sources])
        members[name].append((setting, seed, identity))
        if identity not in trials:
            trials[identity] = Trial.make(output, identity, seeded.recipe, seeded.folder, seeded.subset, corpus)
            labels[identity] = f"{name}: {setting.name}, seed {seed}"
    return Plan(trials=trials, names=labels, members=members)


@dataclass
class Pool:
    """Worker processes and the trials they have left."""

    planned: Plan
    options: Options
    say: Callable[[str], None] = field(default=lambda text: tqdm.write(text, file=sys.stderr))
    """Takes a line of progress."""

    def run(self) -> None:
        """Carry out every trial that has not ended.

        Raises:
            KeyboardInterrupt: after the workers were told to save and end.
        """
        todo = [identity for identity, trial in self.planned.trials.items() if not trial.done]
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for identity in todo:
            self._waiting.put(identity)
        self._total, self._ended, self._began = len(todo), 0, time.monotonic()
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._workers: list[Worker] = []
        if not todo:
            return
        self.say(f"{len(todo)} trials to do, {len(self.planned.trials) - len(todo)} done before")
        slots = [threading.Thread(target=self._slot) for _ in range(min(self.options.jobs, len(todo)))]
        for slot in slots:
            slot.start()
        try:
            for slot in slots:
                slot.join()
        except BaseException:
            self._stop.set()
            for worker in list(self._workers):
                worker.process.terminate()
            for slot in slots:
                slot.join()
            raise

    def _slot(self) -> None:
        worker: Worker | None = None
        try:
            while not self._stop.is_set() and not self._late():
                try:
                    identity = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if worker is None:
                    worker = Worker(self.options)
                    self._workers.append(worker)
                trial = self.planned.trials[identity]
                ended = worker.carry_out(trial)
                if self._stop.is_set():
                    break
                if not ended:
                    if not trial.done:
                        trial.fail(f"its process ended ({worker.exit})")
                    self._workers.remove(worker)
                    worker = None
                self._tell(identity, trial)
        finally:
            if worker is not None:
                worker.close()

    def _late(self) -> bool:
        minutes = self.options.minutes
        return minutes is not None and time.monotonic() - self._began > 60 * minutes

    def _tell(self, identity: str, trial: Trial) -> None:
        with self._turn:
            self._ended += 1
            result, error = trial.result, trial.error
            if result is not None:
                what = f"{100 * (result.mean('right') or 0):.1f} % in {tqdm.format_interval(result.seconds)}"
            else:
                what = f"FAILED: {(error or {}).get('error', 'no result')}"
            elapsed = time.monotonic() - self._began
            left = tqdm.format_interval(elapsed / self._ended * (self._total - self._ended))
            self.say(f"[{self._ended}/{self._total}] {self.planned.names[identity]}: {what}; {left} left")


class Worker:
    """One worker process."""

    def __init__(self, options: Options) -> None:
        threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.ablation.worker", *(["--keep"] if options.keep else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
            text=True,
            # Ctrl-C is the sweep's to answer, and it tells its workers.
            start_new_session=True,
        )

    def carry_out(self, trial: Trial) -> bool:
        """Have one trial carried out; False if the process ended instead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(trial.folder.resolve(), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return False
        return bool(self.process.stdout.readline())

    @property
    def exit(self) -> str:
        """How the process ended."""
        code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"status {code}"

    def close(self) -> None:
        """End the process once it is idle."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
