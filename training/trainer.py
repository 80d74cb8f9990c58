"""One training stage: batches of conversations -> trained weights, in place.

Built on transformers' Trainer; what it adds is here and in the modules named after it: batches by length (`batches`),
learning rates by part (`selection`), saved steps that hold only what is trained (`saved`), validation, the live line
(`progress`), signals.
"""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from model.adapter import MEDIA, adapter_layers
from model.encoders import encode
from model.errors import ConfigurationError
from model.prompt import IGNORE
from model.reference import QuartetForConditionalGeneration
from model.shared_prefix import sharing
from training.batches import LengthBatches
from training.dataset import Collator, Conversations
from training.groups import only_concepts
from training.noise import ConceptNoise
from training.progress import Board, Meter, Progress
from training.saved import Done, load_trained, read_done, read_log, save_trained, saved_step, saved_steps, write_done
from training.selection import is_llm, parameter_groups
from training.signals import SaveAndStop, Stop
from training.stage import Stage
from training.validation import Validator, waited

LOGGING_STEPS = 10
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}
# Where the trainer's state keeps what is between two logged steps.
BETWEEN = "between_logs"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What of a run matters to a stage beside the stage itself."""

    seed: int = 0
    """Of the order of the batches and of dropout."""
    autocast: str = "float32"
    """What is computed in where weights are in float32, as those of a language model are that is trained."""
    parallel: dict[str, Any] = field(default_factory=dict)
    """Arguments that spread the stage over GPUs, see `training.parallel`."""
    stop: Stop = field(default_factory=Stop)
    """Signals."""
    board: Path | None = None
    """Folder for TensorBoard."""
    logging_steps: int = LOGGING_STEPS
    """Steps between two entries of the log."""


class QuartetTrainer(Trainer):
    """Transformers' Trainer over `Conversations`."""

    optimizer: torch.optim.Optimizer | None
    control: TrainerControl

    def __init__(
        self,
        model: QuartetForConditionalGeneration,
        stage: Stage,
        data: Conversations,
        collator: Collator,
        args: TrainingArguments,
        *,
        validator: Validator | None = None,
        noise: Mapping[str, ConceptNoise] | None = None,
        around: Surroundings,
    ) -> None:
        self.stage, self.validator, self.noise = stage, validator, noise or {}
        apart = model.config.adapter_scope == MEDIA
        self.batches = LengthBatches(
            data, collator.lengths, stage, args.seed, apart=apart, devices=max(1, args.world_size)
        )
        self.meter = Meter(self.batches.plan, stage.accumulation * self.batches.devices)
        self.llm_trained = any(p.requires_grad for name, p in model.named_parameters() if is_llm(name))
        callbacks: list[TrainerCallback] = [_Between(self), _StopDiverged(stage), Progress(stage.name, self.meter)]
        callbacks += [_Validate(validator.settings.steps)] if validator else []
        callbacks += [SaveAndStop(around.stop), *([Board(around.board)] if around.board else [])]
        super().__init__(model=model, args=args, train_dataset=data, data_collator=collator, callbacks=callbacks)
        self.remove_callback(PrinterCallback)
        # Gives the number of labelled tokens of a whole step, which `compute_loss` below divides by.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of one length each."""
        loader = DataLoader(self.train_dataset, batch_sampler=self.batches, collate_fn=self.data_collator)
        return loader if self.batches.devices == 1 else self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with one group per learning rate."""
        if self.optimizer is None:
            groups = parameter_groups((model or self.model).named_parameters(), self.stage.learning_rates)
            first, second = self.stage.betas
            decay = self.stage.weight_decay
            self.optimizer = torch.optim.AdamW(groups, weight_decay=decay, betas=(first, second))
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Mean loss over the labelled tokens of the whole step, of which this batch is one part."""
        self._set_modes()
        asked = inputs.pop("asked", {})
        for name, noise in self.noise.items():
            # None in a stage without noise, and where no medium of this modality is in the batch.
            noise.asked = asked.get(name)
        media = inputs.pop("media", {})
        for name, tensors in media.items():
            inputs["features"][name] = torch.stack(encode(self.model.encoders[name], tensors, len(tensors)))
        outputs = model(**inputs)
        loss = outputs["loss"]
        # Dividing by the number of labels it was just multiplied with would round.
        if num_items_in_batch is not None and self.stage.accumulation * self.batches.devices > 1:
            labelled = (inputs["labels"][:, 1:] != IGNORE).sum()
            loss = loss * labelled / num_items_in_batch * self.batches.devices
        return (loss, outputs) if return_outputs else loss

    def _set_modes(self) -> None:
        """Training mode only for what needs it: the Trainer puts everything into it.

        Encoders stay in evaluation mode even where they are trained, so that batch-norm statistics do not drift.
        """
        self.model.encoders.eval()
        self.model.language_model.train(self.llm_trained)
        for layer in adapter_layers(self.model.language_model):
            # Dropout of the adapter's input.
            layer.lora_dropout.train()
        if self.args.gradient_checkpointing:
            for module in self.model.modules():
                if isinstance(module, GradientCheckpointingLayer):
                    # The layer's own flag turns checkpointing on; those of the modules in it turn their dropout on.
                    module.training = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was seen so far, and how fast."""
        if "loss" in logs:
            logs |= self.meter.at(self.state.global_step)
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validate."""
        assert self.validator is not None
        metrics = self.validator(self.model)
        self.log(dict(metrics))
        # Also takes back the wish for a validation, which the end of the run would fulfil once more.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Save the best step, and end when none was better for long enough."""
        better = super()._determine_best_metric(metrics, trial)
        assert self.validator is not None
        settings = self.validator.settings
        if better and settings.keep_best:
            self.control.should_save = True
        idle = waited(self.state.log_history, self.state.best_global_step or 0)
        if settings.patience is not None and idle >= settings.patience:
            self.control.should_training_stop = self.control.should_save = True
        return better

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        save_trained(self.model, Path(output_dir or self.args.output_dir), state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained(self.model, Path(resume_from_checkpoint), self.stage.name)


class _Between(TrainerCallback):
    """Carries what lies between two logged steps over an interruption: the log of a resumed run is the same."""

    def __init__(self, trainer: QuartetTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note the sum of losses since the last entry; a logged step has none, and the last one is logged."""
        control.should_log |= state.global_step >= state.max_steps
        state.stateful_callbacks[BETWEEN] = {
            "loss": 0.0 if control.should_log else float(self.trainer._tr_loss),
            "since": state.global_step if control.should_log else self.trainer._globalstep_last_logged,
            "seconds": self.trainer.meter.seconds,
        }

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Go on from there."""
        found = state.stateful_callbacks.get(BETWEEN, {"loss": 0.0, "since": 0, "seconds": 0.0})
        self.trainer._tr_loss += found["loss"]
        self.trainer._globalstep_last_logged = found["since"]
        self.trainer.meter.start(state.global_step, found["seconds"])


class _Validate(TrainerCallback):
    """Asks for a validation every so many steps, and after the last one."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_evaluate = state.global_step % self.steps == 0 or state.global_step >= state.max_steps


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
        **_: Any,
    ) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(float(loss)):
            raise _diverged(self.stage, f"the loss is {loss} at step {state.global_step}")


def _diverged(stage: Stage, what: str) -> ConfigurationError:
    return ConfigurationError(f"stage {stage.name}: {what}; lower its learning_rates or raise its warmup")


def training_arguments(stage: Stage, output: Path, around: Surroundings, validator: Validator | None) -> Any:
    """Transformers' arguments for a stage."""
    return TrainingArguments(
        output_dir=str(output),
        # All epochs are in one plan of batches.
        num_train_epochs=1,
        seed=around.seed,
        gradient_accumulation_steps=stage.accumulation,
        lr_scheduler_type=SCHEDULES[stage.schedule],
        # Below 1 it is a share of all steps.
        warmup_steps=stage.warmup,
        max_grad_norm=stage.max_norm,
        bf16=around.autocast == "bfloat16",
        fp16=around.autocast == "float16",
        gradient_checkpointing=stage.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=around.logging_steps,
        # Or else a loss that is no number is logged as the mean of the others.
        logging_nan_inf_filter=False,
        save_steps=stage.save_steps,
        # Counts the best one; and with 1, the trainer would remove the last one for it.
        save_total_limit=stage.keep + (validator is not None),
        metric_for_best_model=validator.metric if validator else None,
        greater_is_better=validator.more_is_better if validator else None,
        # Ours are given as callbacks.
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        # Batches of one length differ in size; every device gets as many of them.
        accelerator_config={"even_batches": False, "split_batches": False, "dispatch_batches": False},
        use_cpu=not torch.cuda.is_available(),
        # A batch without sounds gives their projector no gradient. By default that is an error with checkpointing.
        ddp_find_unused_parameters=True,
        **around.parallel,
    )


def train_stage(
    model: QuartetForConditionalGeneration,
    stage: Stage,
    data: Conversations,
    collator: Collator,
    output: Path,
    *,
    validator: Validator | None = None,
    noise: Mapping[str, ConceptNoise] | None = None,
    concepts: Mapping[str, Tensor] | None = None,
    around: Surroundings | None = None,
    resume: bool = False,
) -> list[dict[str, Any]]:
    """Run one stage; what it trains is changed in place.

    Args:
        model: moved to the accelerator if there is one.
        stage: what is trained and how.
        data: the conversations of one epoch.
        collator: makes batches of them.
        output: folder for the saved steps.
        validator: of the stage's validation, if it has one.
        noise: by modality, what disturbs the concepts of the projectors; those that the collator knows questions of.
        concepts: by modality, which concepts `[concepts]` of a projector are trained alone; see `training.groups`.
        around: of the run.
        resume: go on after the last saved step. Order, optimizer and random numbers go on too, so on a CPU the
            result is that of an uninterrupted run. A stage that is done is not run again.

    Returns:
        The log: every 10 steps an entry with `step`, `loss` (their mean), `learning_rate`, `grad_norm` and what
        `training.progress.Meter.at` gives; after a validation one with `step` and its scores.

    Raises:
        ConfigurationError: learning rates that match nothing, a loss or weights that are not finite, or a saved step of
            another recipe.
        Interrupted: a signal came; the step it came in is saved.
    """
    around = around or Surroundings()
    parameter_groups(model.named_parameters(), stage.learning_rates)
    done = read_done(output) if resume else None
    if done is not None:
        load_trained(model, saved_step(output, done.best), stage.name)
        return curve(read_log(saved_step(output, done.step)))
    found = saved_steps(output) if resume else []
    args = training_arguments(stage, output, around, validator)
    trainer = QuartetTrainer(model, stage, data, collator, args, validator=validator, noise=noise, around=around)
    shared = sharing(model.language_model) if collator.prefix else nullcontext()
    with shared, only_concepts(model.projectors, concepts or {}):
        trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)
    if stage.gradient_checkpointing:
        # The trainer leaves it on, also for the stages that follow.
        model.gradient_checkpointing_disable()
    around.stop.check()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(parameter.isfinite().all()):
            raise _diverged(stage, f"{name} is not finite")
    last = best = trainer.state.global_step
    if validator is not None and validator.settings.keep_best and trainer.state.best_global_step:
        best = trainer.state.best_global_step
    if best != last:
        load_trained(model, saved_step(output, best), stage.name)
    if trainer.is_world_process_zero():
        write_done(output, Done(last, best))
    return curve(trainer.state.log_history)


def curve(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a log that hold a loss or a validation."""
    return [entry for entry in log if "loss" in entry or "eval_loss" in entry]
