"""vLLM's multimodal processor for Quartet: media -> encoder inputs, placeholders -> positions of soft tokens.

Text never passes here: the prompt arrives as token ids with one placeholder id per medium, and each is replaced by as
many as its modality has soft tokens. Everything loops over `QuartetConfig.modality_specs`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.cache.base import MultiModalProcessorOnlyCache
from vllm.multimodal.cache.lru import LruKeyReplicatedSenderCache
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from model.configuration import Modality, QuartetConfig
from model.errors import MediaError
from model.vllm_adapter.media import MediaParser
from model.vllm_adapter.prepared import INPUTS as INPUTS
from model.vllm_adapter.prepared import Keyed, PreparedCache

# The last configuration that was asked for its modalities, and what it answered.
_checked: dict[str, Any] = {}


class QuartetProcessingInfo(BaseProcessingInfo):
    """What the engine asks about the model: modalities, limits, tokens per medium."""

    def get_hf_config(self) -> QuartetConfig:
        """The model's configuration."""
        config: QuartetConfig = self.ctx.get_hf_config(QuartetConfig)
        return config

    @property
    def modality_specs(self) -> dict[str, Modality]:
        """Checked modalities by name."""
        config = self.get_hf_config()
        # The engine makes one of these for every request with media, and asks it often; a model has one configuration.
        if _checked.get("config") is not config:
            _checked.update(config=config, specs=config.modality_specs)
        specs: dict[str, Modality] = _checked["specs"]
        return specs

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of media per prompt; the operator's limit is `--limit-mm-per-prompt`."""
        return dict.fromkeys(self.modality_specs)

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """The fixed number of soft tokens of each modality."""
        return {name: spec.tokens for name, spec in self.modality_specs.items() if mm_counts.get(name, 0) > 0}

    def get_data_parser(self) -> MediaParser:
        """Takes media as they are; each encoder refuses what it cannot take."""
        return MediaParser({name: spec.encoder.check for name, spec in self.modality_specs.items()})

    def validate_num_items(self, modality: str, num_items: int) -> None:
        """Refuse more media than allowed.

        Raises:
            VLLMValidationError: `parameter` is `<modality>[<limit>]`, the first medium too many.
        """
        limit = self.allowed_mm_limits.get(modality)
        if limit is None:
            known = ", ".join(self.modality_specs) or "none"
            raise VLLMValidationError(f"this model has no {modality} input; it has {known}", parameter=f"{modality}[0]")
        if num_items > limit:
            raise VLLMValidationError(
                f"at most {limit} {modality} parts are accepted in one conversation; leave some out",
                parameter=f"{modality}[{limit}]",
            )


class QuartetDummyInputs(BaseDummyInputsBuilder[QuartetProcessingInfo]):
    """The most expensive media of each modality, for memory profiling."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """One placeholder per medium."""
        return "".join(spec.placeholder * mm_counts.get(name, 0) for name, spec in self.info.modality_specs.items())

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        """The encoders' own examples."""
        return {
            name: [spec.encoder.example()] * mm_counts.get(name, 0)
            for name, spec in self.info.modality_specs.items()
            if mm_counts.get(name, 0)
        }


class QuartetProcessor(BaseMultiModalProcessor[QuartetProcessingInfo]):
    """Prepares media with the encoders' own `preprocess`, in float32 whatever dtype the language model has."""

    _cache: PreparedCache | None = None

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Refuse prompts in which placeholders and media do not pair up, then process.

        Only a prompt made elsewhere than by the chat template can do that: text that spells a placeholder would take
        the place of a medium.
        """
        counts = inputs.mm_data_items.get_all_counts()
        for name, spec in self.info.modality_specs.items():
            found, given = inputs.prompt.count(spec.placeholder_id), counts.get(name, 0)
            if found != given:
                raise VLLMValidationError(
                    f"the prompt holds {found} {name} placeholders for {given} {name} parts", parameter="messages"
                )
        return super().apply(dataclasses.replace(inputs, cache=self.safe_cache(inputs.cache)), timing_ctx)

    def safe_cache(self, cache: Any) -> Any:
        """The cache of prepared media, such that no refused request can spoil another one.

        vLLM's default sends a medium to the engine once and remembers that it did, before the request is accepted: if
        it is then refused (too long, an impossible option), the next request with that medium fails. This one keeps
        what it prepared and always sends it; the engine still encodes each medium once.

        Returns:
            A `PreparedCache`, always the same; None where caching is off; what was given where it is in shared memory.
        """
        if not isinstance(cache, LruKeyReplicatedSenderCache | MultiModalProcessorOnlyCache):
            return cache
        if self._cache is None:
            self._cache = PreparedCache(self.info.ctx.model_config)
        return self._cache

    def _get_mm_hashes(self, inputs: Any) -> Any:
        """Key the caches by content alone: an id chosen by one client must not name another client's medium."""
        items = inputs.mm_data_items
        hashes = super()._get_mm_hashes(dataclasses.replace(inputs, mm_uuid_items=None))
        # Whoever gave a medium its key knows under which to ask for it; options of a request change nothing about it.
        return {
            modality: [
                item.key if isinstance(item, Keyed) else computed
                for item, computed in zip(items[modality].get_all(), found, strict=True)
            ]
            for modality, found in hashes.items()
        }

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        """Encoder inputs by modality, one float32 tensor per medium.

        Does not go through the engine's processor call, which would round them to the language model's dtype.
        """
        specs = self.info.modality_specs
        outputs: dict[str, Any] = {}
        for name, items in mm_items.items():
            media = items.get_all()
            # Several of one key are prepared once.
            new = {
                _key(item): item.medium if isinstance(item, Keyed) else item for item in media if not _prepared(item)
            }
            try:
                made = dict(zip(new, specs[name].encoder.preprocess_many(list(new.values())), strict=True))
            except MediaError as error:
                raise VLLMValidationError(str(error), parameter="messages") from None
            outputs[f"{name}{INPUTS}"] = [item.prepared if _prepared(item) else made[_key(item)] for item in media]
        return BatchFeature(outputs)

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        return {f"{name}{INPUTS}": MultiModalFieldConfig.batched(name) for name in self.info.modality_specs}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptUpdate]:
        return [
            PromptReplacement(
                modality=name, target=[spec.placeholder_id], replacement=[spec.placeholder_id] * spec.tokens
            )
            for name, spec in self.info.modality_specs.items()
        ]


def _key(item: Any) -> str | int:
    return item.key if isinstance(item, Keyed) else id(item)


def _prepared(item: Any) -> bool:
    return isinstance(item, Keyed) and item.prepared is not None
