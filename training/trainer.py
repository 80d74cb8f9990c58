"""One training run: recipe -> projectors (and a checkpoint that is served as it is).

The language model is frozen and only the projectors have gradients, so a step costs one forward pass and the backward
pass through activations. Built on transformers' Trainer; what it adds is here: batches by length, learning rates by
parameter name, checkpoints that hold only what is trained.
"""

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.errors import ConfigurationError
from model.reference import QuartetForConditionalGeneration
from training.dataset import Collator, Conversations, LengthBatches
from training.recipe import Stage

TRAINED = "trained.safetensors"


class QuartetTrainer(Trainer):
    """Transformers' Trainer over `Conversations`."""

    def __init__(
        self,
        model: QuartetForConditionalGeneration,
        stage: Stage,
        data: Conversations,
        collator: Collator,
        args: TrainingArguments,
    ) -> None:
        self.stage = stage
        super().__init__(model=model, args=args, train_dataset=data, data_collator=collator, callbacks=[_NewOrder()])

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one length each."""
        assert isinstance(self.train_dataset, Conversations)
        assert isinstance(self.data_collator, Collator)
        self.batches = LengthBatches(
            self.train_dataset.rows, self.data_collator.lengths, self.stage.batch_tokens, self.args.seed
        )
        return DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with one group per learning-rate pattern."""
        if self.optimizer is None:
            groups = parameter_groups(self.model.named_parameters(), self.stage.learning_rates)
            self.optimizer = torch.optim.AdamW(groups, weight_decay=self.stage.weight_decay, betas=(0.9, 0.999))
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write only what is trained; the frozen parts are known by their hashes."""
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        trained = {n: p.detach().cpu().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(trained, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        state = load_file(Path(resume_from_checkpoint) / TRAINED)
        self.model.load_state_dict(state, strict=False)


class _NewOrder(TrainerCallback):
    """Tells the batch sampler which epoch begins."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        loader = kwargs.get("train_dataloader")
        if loader is not None and hasattr(loader.batch_sampler, "set_epoch"):
            loader.batch_sampler.set_epoch(int(state.epoch or 0))


def parameter_groups(parameters: Iterable[tuple[str, nn.Parameter]], rates: dict[str, float]) -> list[dict[str, Any]]:
    """Optimizer groups by the first pattern that matches a parameter's name; the rest is frozen.

    Raises:
        ConfigurationError: a pattern matches nothing.
    """
    groups: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in rates}
    for name, parameter in parameters:
        pattern = next((p for p in rates if fnmatch.fnmatch(name, p)), None)
        parameter.requires_grad_(pattern is not None and rates[pattern] > 0)
        if pattern is not None and rates[pattern] > 0:
            groups[pattern].append(parameter)
    for pattern, members in groups.items():
        if not members and rates[pattern] > 0:
            raise ConfigurationError(f"learning_rates: no parameter is called like {pattern!r}")
    return [{"params": members, "lr": rates[pattern]} for pattern, members in groups.items() if members]


def train_stage(
    model: QuartetForConditionalGeneration,
    stage: Stage,
    data: Conversations,
    collator: Collator,
    output: Path,
    *,
    seed: int,
    save_steps: int = 200,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Run one stage and return its log: one entry with `step`, `loss` and learning rate per 10 steps."""
    parameter_groups(model.named_parameters(), stage.learning_rates)
    args = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=1,
        seed=seed,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup,
        max_grad_norm=1.0,
        logging_steps=10,
        save_steps=save_steps,
        save_total_limit=2,
        report_to=[],
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=False,
    )
    trainer = QuartetTrainer(model, stage, data, collator, args)
    found = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    trainer.train(resume_from_checkpoint=str(found[-1]) if resume and found else None)
    return list(trainer.state.log_history)
