"""The transformers reference model: what the server must reproduce, and what training trains.

`encode` (frozen, cacheable) and `project` (trained) are separate calls; `forward` takes features, so training never
needs an encoder when features are cached.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from model.adapter import ADAPTER, MEDIA, adapter_layers, adapter_switched, load_adapter
from model.configuration import QuartetConfig
from model.encoders import encode
from model.errors import PromptError
from model.prompt import IGNORE
from model.shared_prefix import Layout


@dataclass(frozen=True)
class Generation:
    """A greedy answer: token ids `[n]`, and the log-probability of each."""

    token_ids: list[int]
    logprobs: list[float]


class QuartetForConditionalGeneration(PreTrainedModel):
    """Language model, encoders and projectors; `language_model` may be given instead of built."""

    config_class = QuartetConfig
    config: QuartetConfig
    language_model: PreTrainedModel
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # Whatever dtype the language model is loaded in.
    _keep_in_fp32_modules_strict = ["encoders", "projectors"]
    # Batch-norm step counters, which inference does not read and packed files do not hold.
    _keys_to_ignore_on_load_missing = [r"num_batches_tracked"]

    def __init__(self, config: QuartetConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.get_text_config())
        else:
            # Or else transformers initialises again what it did not load itself, such as an adapter.
            for module in language_model.modules():
                module._is_hf_initialized = True
        self.language_model = language_model
        self._specs = specs = config.modality_specs
        self.encoders = nn.ModuleDict({name: spec.encoder.build() for name, spec in specs.items()})
        self.projectors = config.build_projectors()
        for parameter in self.encoders.parameters():
            parameter.requires_grad_(False)
        self.post_init()

    @classmethod
    def from_pretrained(cls, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a packed directory; an adapter that is active only with media lies beside the weights in it."""
        loaded: Any = super().from_pretrained(path, *args, **kwargs)
        # With `output_loading_info` it is a pair.
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.config.adapter_scope == MEDIA:
            model.language_model = load_adapter(model.language_model, Path(path) / ADAPTER, MEDIA)
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every part with its own initialisation."""

    def get_input_embeddings(self) -> nn.Module:
        """The language model's embedding table, padded to hold the media tokens."""
        embeddings: nn.Module = self.language_model.get_input_embeddings()
        return embeddings

    def get_output_embeddings(self) -> nn.Module:
        """The language model's output layer."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    @torch.no_grad()
    def encode(self, modality: str, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Preprocessed media of one modality -> one `[length, dim]` feature tensor each."""
        module = self.encoders[modality].eval()
        return encode(module, inputs)

    def project(self, modality: str, features: Tensor) -> Tensor:
        """Features `[n, length, dim]` -> soft tokens `[n, tokens, hidden]` in the language model's dtype."""
        projector = self.projectors[modality]
        weight = next(projector.parameters())
        tokens: Tensor = projector(features.to(device=weight.device, dtype=weight.dtype))
        return tokens.to(self.language_model.dtype)

    def embed(self, input_ids: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Token embeddings `[batch, n, hidden]` with soft tokens at the placeholders, in reading order.

        Args:
            input_ids: `[batch, n]`.
            features: per modality `[media, length, dim]`, in reading order over the whole batch.

        Raises:
            PromptError: the number of placeholders is not the number of soft tokens.
        """
        embeddings: Tensor = self.get_input_embeddings()(input_ids)
        unknown = sorted(set(features) - set(self._specs))
        if unknown:
            raise PromptError(f"this model has no {unknown[0]} input; it has {', '.join(self._specs) or 'none'}")
        for name, spec in self._specs.items():
            mask = input_ids == spec.placeholder_id
            count = int(mask.sum())
            given = features[name].shape[0] if name in features else 0
            if count != given * spec.tokens:
                raise PromptError(
                    f"{count // spec.tokens} {name} placeholders in the prompt for {given} {name} media"
                    f" ({count} positions, {spec.tokens} each)"
                )
            if count:
                tokens = self.project(name, features[name]).flatten(0, 1)
                embeddings = embeddings.masked_scatter(mask.unsqueeze(-1), tokens)
        return embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        features: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
        prefix: int = 0,
    ) -> CausalLMOutput:
        """Next-token loss, or logits of every position.

        With `labels` `[batch, n]` the loss is the mean over labelled tokens and logits exist only where a label asks
        for one (`[labelled, vocab]`): the vocabulary is by far the widest layer of a small model.

        With `prefix` too, so many tokens, none of them a medium and none asked for by a label, are the same in all rows
        and are computed once, see `model.shared_prefix`, whose attention the language model must have by then.
        """
        embeddings = self.embed(input_ids, features or {})
        if labels is None:
            with self._adapted(input_ids):
                output = self.language_model(inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False)
            return CausalLMOutput(logits=self._suppress(output.logits))
        rows, length = input_ids.shape
        layout = Layout(prefix, rows, length - prefix) if prefix else None
        plain = {"inputs_embeds": embeddings, "attention_mask": attention_mask, "use_cache": False}
        targets = labels[:, prefix + 1 :]
        wanted = targets != IGNORE

        def select(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            """The states that a label asks for."""
            states = layout.behind(args[0]) if layout is not None else args[0]
            return (states[:, :-1][wanted],)

        # The language model's own forward, because some scale or cap their logits after the output layer.
        hook = self.get_output_embeddings().register_forward_pre_hook(select)
        try:
            with self._adapted(input_ids):
                output = self.language_model(**(plain if layout is None else layout.arguments(embeddings)))
        finally:
            hook.remove()
        logits = self._suppress(output.logits)
        loss = nn.functional.cross_entropy(logits.float(), targets[wanted])
        return CausalLMOutput(loss=loss, logits=logits)

    @torch.no_grad()
    def answer(
        self, input_ids: Sequence[int], features: Mapping[str, Tensor] | None = None, *, max_tokens: int = 32
    ) -> Generation:
        """Greedy answer to one prompt, token by token with a key-value cache: the reference for the server."""
        stops = self._stop_ids()
        prompt = torch.tensor([list(input_ids)], device=self.device)
        embeddings = self.embed(prompt, features or {})
        tokens: list[int] = []
        logprobs: list[float] = []
        cache = None
        with self._adapted(prompt):
            while len(tokens) < max_tokens:
                output = self.language_model(
                    inputs_embeds=embeddings, past_key_values=cache, use_cache=True, logits_to_keep=1
                )
                cache = output.past_key_values
                scores = self._suppress(output.logits[:, -1]).float().log_softmax(dim=-1)
                best = int(scores.argmax())
                tokens.append(best)
                logprobs.append(float(scores[0, best]))
                if best in stops:
                    break
                embeddings = self.get_input_embeddings()(torch.tensor([[best]], device=self.device))
        return Generation(tokens, logprobs)

    @torch.no_grad()
    def answers(
        self, prompts: Sequence[Sequence[int]], features: Mapping[str, Tensor] | None = None, *, max_tokens: int = 32
    ) -> list[list[int]]:
        """Greedy answers to several prompts at once, as `answer` gives them one by one; up to rounding.

        Args:
            prompts: token ids; shorter ones are padded on the left, where they are masked.
            features: per modality `[media, length, dim]`, in reading order over all prompts.
            max_tokens: longest answer.

        Returns:
            The token ids of each answer, its end token included.

        Raises:
            PromptError: see `embed` and, with an adapter of scope `media`, prompts both with and without media.
        """
        length = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.tensor(prompt)
            mask[row, length - len(prompt) :] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        stops = torch.tensor(sorted(self._stop_ids()), device=self.device)
        embeddings = self.embed(ids, features or {})
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
        found: list[list[int]] = [[] for _ in prompts]
        finished = torch.zeros(len(prompts), dtype=torch.bool, device=self.device)
        cache = None
        with self._adapted(ids):
            for _ in range(max_tokens):
                output = self.language_model(
                    inputs_embeds=embeddings,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                cache = output.past_key_values
                best = self._suppress(output.logits[:, -1]).argmax(dim=-1)
                for row in (~finished).nonzero().flatten().tolist():
                    found[row].append(int(best[row]))
                finished |= torch.isin(best, stops)
                if finished.all():
                    break
                embeddings = self.get_input_embeddings()(best[:, None])
                mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
                positions = positions[:, -1:] + 1
        return found

    def _adapted(self, input_ids: Tensor) -> AbstractContextManager[None]:
        """Switches an adapter of scope `media` on for prompts `[batch, n]` with media, off for those without.

        Raises:
            PromptError: both kinds in one batch, which share one set of weights.
        """
        if self.config.adapter_scope != MEDIA or not (layers := adapter_layers(self.language_model)):
            return nullcontext()
        index = torch.tensor(list(self.config.media_token_ids.values()), device=input_ids.device)
        with_media = torch.isin(input_ids, index).any(dim=1)
        if with_media.any() != with_media.all():
            raise PromptError(
                "prompts with and without media in one batch: the adapter is active only with media; batch them apart"
            )
        return adapter_switched(layers, bool(with_media.all()))

    def _suppress(self, logits: Tensor) -> Tensor:
        """Media tokens and padding rows are never an answer."""
        index = torch.tensor(self.config.suppressed_token_ids, device=logits.device, dtype=torch.long)
        return logits.index_fill(-1, index, float("-inf"))

    def _stop_ids(self) -> set[int]:
        ids = self.config.get_text_config().eos_token_id
        generation = getattr(self.language_model, "generation_config", None)
        more = getattr(generation, "eos_token_id", None)
        return {i for group in (ids, more) for i in (group if isinstance(group, list) else [group]) if i is not None}


AutoModelForCausalLM.register(QuartetConfig, QuartetForConditionalGeneration, exist_ok=True)
