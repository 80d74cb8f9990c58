"""One training stage: batches of conversations -> trained projectors and adapter, in place.

The language model itself is frozen, so a step costs one forward pass and the backward pass through activations. Built
on transformers' Trainer; what it adds is here: batches by length, learning rates by parameter name, saved steps that
hold only what is trained.
"""

import fnmatch
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.adapter import PARAMETER, adapter_layers
from model.errors import ConfigurationError
from model.reference import QuartetForConditionalGeneration
from training.dataset import Collator, Conversations, LengthBatches
from training.recipe import Stage

TRAINED = "trained.safetensors"
# Written last into the folder of a saved step: without it, the step was interrupted while it was written.
COMPLETE = "trainer_state.json"
# Projectors and adapter are what a checkpoint keeps; anything else that were trained would be lost.
PROJECTORS = "projectors."
LOGGING_STEPS, SAVE_STEPS = 10, 200


class QuartetTrainer(Trainer):
    """Transformers' Trainer over `Conversations`."""

    optimizer: torch.optim.Optimizer | None

    def __init__(
        self,
        model: QuartetForConditionalGeneration,
        stage: Stage,
        data: Conversations,
        collator: Collator,
        args: TrainingArguments,
    ) -> None:
        self.stage = stage
        self.batches = LengthBatches(data.rows, collator.lengths, stage.batch_tokens, args.seed)
        super().__init__(
            model=model, args=args, train_dataset=data, data_collator=collator, callbacks=[_StopDiverged(stage)]
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one length each."""
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with one group per learning-rate pattern."""
        if self.optimizer is None:
            groups = parameter_groups(self.model.named_parameters(), self.stage.learning_rates)
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.stage.weight_decay, betas=(0.9, 0.999))
        return self.optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loss of one batch; what is frozen stays in evaluation mode, for the Trainer puts everything into training."""
        self.model.language_model.eval()
        for layer in adapter_layers(self.model.language_model):
            # Dropout of the adapter's input.
            layer.lora_dropout.train()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write only what is trained; the frozen parts are known by their hashes."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        trained = {n: p.detach().cpu().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(trained, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Read what `_save` wrote.

        Raises:
            ConfigurationError: it holds other parameters than this stage trains.
        """
        path = Path(resume_from_checkpoint) / TRAINED
        state = load_file(path)
        trained = {name: p.shape for name, p in self.model.named_parameters() if p.requires_grad}
        if trained != {name: tensor.shape for name, tensor in state.items()}:
            raise ConfigurationError(
                f"{path}: does not hold what stage {self.stage.name} trains; the recipe or the corpus has changed since"
            )
        self.model.load_state_dict(state, strict=False)


class _StopDiverged(TrainerCallback):
    """Ends a run whose loss is no number any more, rather than let it go on for an hour."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(float(loss)):
            raise _diverged(self.stage, f"the loss is {loss} at step {state.global_step}")


def _diverged(stage: Stage, what: str) -> ConfigurationError:
    return ConfigurationError(f"stage {stage.name}: {what}; lower its learning_rates or raise its warmup")


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Optimizer groups by the first pattern that matches a parameter's name; the rest is frozen.

    Args:
        parameters: name and parameter; `requires_grad` is set on each.
        rates: pattern, such as `projectors.*.second.*`, to learning rate; 0 freezes.

    Raises:
        ConfigurationError: a pattern matches nothing, or what a checkpoint would not keep.
    """
    groups: dict[str, list[nn.Parameter]] = {pattern: [] for pattern, rate in rates.items() if rate > 0}
    for name, parameter in parameters:
        pattern = next((pattern for pattern in rates if fnmatch.fnmatchcase(name, pattern)), None)
        parameter.requires_grad_(pattern in groups)
        if pattern not in groups:
            continue
        if not name.startswith(PROJECTORS) and PARAMETER not in name:
            raise ConfigurationError(
                f"learning_rates: {pattern!r} matches {name}, but a checkpoint keeps {PROJECTORS}* and the adapter's "
                f"*{PARAMETER}* only"
            )
        groups[pattern].append(parameter)
    for pattern, members in groups.items():
        if not members:
            raise ConfigurationError(f"learning_rates: no parameter is called like {pattern!r}")
    return [{"params": members, "lr": rates[pattern]} for pattern, members in groups.items()]


def saved_steps(folder: Path) -> list[Path]:
    """The complete saved steps in a stage's folder, the last one last."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def train_stage(
    model: QuartetForConditionalGeneration,
    stage: Stage,
    data: Conversations,
    collator: Collator,
    output: Path,
    *,
    seed: int,
    save_steps: int = SAVE_STEPS,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Run one stage over `data` once; the model's projectors are trained in place.

    Args:
        model: moved to the accelerator if there is one.
        stage: learning rates and batch size.
        data: the conversations, repeated as often as they are to be seen.
        collator: makes batches of them.
        output: folder for the saved steps.
        seed: of the order of the batches and of dropout.
        save_steps: steps between two saved ones; the last step is always saved.
        resume: go on after the last saved step. Order, optimizer and random numbers go on too, so on a CPU the
            result is that of an uninterrupted run.

    Returns:
        The log: one entry with `step`, `loss` (mean of 10 steps) and learning rate per 10 steps, and one at the end.

    Raises:
        ConfigurationError: learning rates that match nothing, a loss or weights that are not finite, or a saved step of
            another recipe.
    """
    parameter_groups(model.named_parameters(), stage.learning_rates)
    args = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=1,
        seed=seed,
        lr_scheduler_type="cosine",
        # Below 1 it is a share of all steps.
        warmup_steps=stage.warmup,
        max_grad_norm=1.0,
        logging_steps=LOGGING_STEPS,
        # Or else a loss that is no number is logged as the mean of the others.
        logging_nan_inf_filter=False,
        save_steps=save_steps,
        save_total_limit=2,
        report_to=[],
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=False,
    )
    trainer = QuartetTrainer(model, stage, data, collator, args)
    found = saved_steps(output) if resume else []
    trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not _finite(parameter):
            raise _diverged(stage, f"{name} is not finite")
    return list(trainer.state.log_history)


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())
