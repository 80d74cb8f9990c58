"""`QuartetConfig`: a language model plus modalities, each an encoder, a projector and a placeholder.

Everything that loops over modalities loops over `QuartetConfig.modality_specs`; a third modality is one more key.
Media token ids lie inside the vocabulary: `text_config.vocab_size` is the language model's own size padded until the
ids fit, `llm_vocab_size` keeps the number of rows the language model really has. An id outside the vocabulary would be
read past the end of the embedding table by any prompt that holds it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from model.adapter import ALWAYS, SCOPES
from model.encoders import encoder_config
from model.encoders.base import EncoderConfig
from model.errors import ConfigurationError
from model.fields import check_choice, from_mapping
from model.projectors import Projector, ProjectorConfig, projector_config

# A multiple that keeps tensor-parallel sharding of the vocabulary even.
VOCAB_MULTIPLE = 64
ARCHITECTURE = "QuartetForConditionalGeneration"
# One bracketed word: no two can overlap in a text, and breaking one apart with spaces cannot make another.
PLACEHOLDER = re.compile(r"<[^<>\[\]\s]{3,}>|\[[^<>\[\]\s]{3,}\]")
# What transformers writes into, or passes to, any configuration beside its declared fields.
COMMON_KEYS = {
    "model_type", "auto_map", "torch_dtype", "name_or_path", "num_labels", "quantization_config", "tie_word_embeddings",
    "attn_implementation", "experts_implementation", "output_attentions", "per_layer_config",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModalityFields:
    """The JSON form of one entry of `modalities`."""

    encoder: dict[str, Any]
    """`{"family": ..., ...}`, see `model.encoders`."""
    projector: dict[str, Any]
    """`{"type": ..., "tokens": ..., ...}`, see `model.projectors`."""
    placeholder: str
    """Spelling of the media token in the prompt, such as `<|image|>`."""
    placeholder_id: int
    """Its id, below `text_config.vocab_size`."""
    begin: str = ""
    """Text put before every medium."""
    end: str = ""
    """Text put after every medium."""


@dataclass(frozen=True)
class Modality:
    """One checked entry of `modalities`."""

    name: str
    encoder: EncoderConfig
    projector: ProjectorConfig
    fields: ModalityFields = field(repr=False)

    @property
    def placeholder(self) -> str:
        """Spelling of the media token."""
        return self.fields.placeholder

    @property
    def placeholder_id(self) -> int:
        """Id of the media token."""
        return self.fields.placeholder_id

    @cached_property
    def tokens(self) -> int:
        """Soft tokens per medium.

        Raises:
            ConfigurationError: the projector cannot take what the encoder gives.
        """
        try:
            return self.projector.count(self.encoder.length)
        except ConfigurationError as error:
            raise ConfigurationError(f"modalities.{self.name}.projector.{error}") from None

    def build_projector(self, hidden_size: int) -> Projector:
        """The projector between this encoder and a language model of width `hidden_size`."""
        try:
            return self.projector.build(dim=self.encoder.dim, length=self.encoder.length, hidden_size=hidden_size)
        except ConfigurationError as error:
            raise ConfigurationError(f"modalities.{self.name}.projector.{error}") from None


class QuartetConfig(PreTrainedConfig):
    """Configuration of a Quartet model, saved as `config.json`."""

    model_type = "quartet"
    sub_configs = {"text_config": AutoConfig}

    # Checked in `__post_init__` like everything else: transformers' own type errors do not say what to change.
    text_config: Any = None
    """The language model's configuration, or its JSON form."""
    modalities: Any = None
    """Modality name -> the JSON form of `ModalityFields`."""
    llm_vocab_size: Any = None
    """Rows of the language model's own embedding table; `text_config.vocab_size` may be padded beyond it."""
    adapter_scope: Any = ALWAYS
    """When the checkpoint's LoRA adapter, if it has one, is active: `always`, or `media` (see `model.adapter`)."""

    def __post_init__(self, **kwargs: Any) -> None:
        """Rebuild the language model's configuration and check every field."""
        unknown = sorted(key for key in kwargs if key not in COMMON_KEYS and not key.startswith("_"))
        if unknown:
            raise ConfigurationError(
                f"config: unknown key {unknown[0]!r}; known keys are adapter_scope, llm_vocab_size, modalities, "
                "text_config"
            )
        if self.modalities is not None and not isinstance(self.modalities, Mapping):
            raise ConfigurationError(f"modalities: expected a mapping, got {self.modalities!r}")
        if self.text_config is not None and not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = _text_config(self.text_config)
        if self.text_config is not None:
            if self.llm_vocab_size is None:
                self.llm_vocab_size = self.text_config.vocab_size
            # Base configurations embedded in another one often lose this, and the engine needs it.
            self.text_config.architectures = self.text_config.architectures or _causal_lm(self.text_config)
            self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        self.modalities = self.modalities or {}
        self.architectures = getattr(self, "architectures", None) or [ARCHITECTURE]
        super().__post_init__(**kwargs)
        if self.text_config is not None:
            self._check()

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """The language model's configuration."""
        assert isinstance(self.text_config, PreTrainedConfig)
        return self.text_config

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.get_text_config().hidden_size)

    @property
    def modality_specs(self) -> dict[str, Modality]:
        """Checked modalities by name, in the order of the file."""
        return {name: parse_modality(name, values) for name, values in (self.modalities or {}).items()}

    def build_projectors(self) -> nn.ModuleDict:
        """New projectors of all modalities, by name."""
        return nn.ModuleDict(
            {name: spec.build_projector(self.hidden_size) for name, spec in self.modality_specs.items()}
        )

    @property
    def media_token_ids(self) -> dict[str, int]:
        """Placeholder id of each modality."""
        return {name: int(values["placeholder_id"]) for name, values in (self.modalities or {}).items()}

    @property
    def suppressed_token_ids(self) -> list[int]:
        """Ids that must never be sampled: placeholders, and rows that only pad the vocabulary."""
        padding = range(self.llm_vocab_size or 0, self.get_text_config().vocab_size)
        return sorted({*self.media_token_ids.values(), *padding})

    def _check(self) -> None:
        vocabulary = self.get_text_config().vocab_size
        size = self.llm_vocab_size
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= vocabulary:
            raise ConfigurationError(f"llm_vocab_size: {size!r} is outside 1..{vocabulary} (text_config.vocab_size)")
        check_choice("adapter_scope", self.adapter_scope, SCOPES)
        specs = self.modality_specs
        for attribute in ("placeholder", "placeholder_id"):
            values = [getattr(spec, attribute) for spec in specs.values()]
            if len(set(values)) != len(values):
                raise ConfigurationError(f"modalities: two of them share the same {attribute}: {values}")
        for name, spec in specs.items():
            for other in specs.values():
                if other.placeholder in spec.fields.begin + "\n" + spec.fields.end:
                    raise ConfigurationError(
                        f"modalities.{name}: begin {spec.fields.begin!r} and end {spec.fields.end!r} must not hold the "
                        f"placeholder {other.placeholder!r}"
                    )
            if not 0 <= spec.placeholder_id < vocabulary:
                raise ConfigurationError(
                    f"modalities.{name}.placeholder_id: {spec.placeholder_id} is outside 0..{vocabulary - 1}; "
                    "pad text_config.vocab_size"
                )
            if spec.encoder.modality != name:
                raise ConfigurationError(
                    f"modalities.{name}.encoder.family: {spec.encoder.family} encodes "
                    f"{spec.encoder.modality}, not {name}"
                )
            # Asking is what checks that projector and encoder fit.
            _ = spec.tokens


def parse_modality(name: str, values: Mapping[str, Any]) -> Modality:
    """Check one entry of `modalities`.

    Raises:
        ConfigurationError: naming field, value and what is accepted.
    """
    where = f"modalities.{name}"
    fields = from_mapping(ModalityFields, values, where=where)
    if not PLACEHOLDER.fullmatch(fields.placeholder):
        raise ConfigurationError(
            f"{where}.placeholder: {fields.placeholder!r} is not one word of at least 3 characters in <> or [], "
            f"such as '<|{name}|>'"
        )
    return Modality(
        name=name,
        encoder=encoder_config(fields.encoder, where=f"{where}.encoder"),
        projector=projector_config(fields.projector, where=f"{where}.projector"),
        fields=fields,
    )


def padded_vocab_size(size: int, highest_id: int) -> int:
    """Rows needed so that `highest_id` exists: `size` itself, or the next multiple of 64 above the id."""
    if highest_id < size:
        return size
    return -(-(highest_id + 1) // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def _text_config(values: object) -> PreTrainedConfig:
    """The language model's configuration from its JSON form."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"text_config: expected a mapping, got {values!r}")
    rest = dict(values)
    kind = rest.pop("model_type", None)
    if kind not in CONFIG_MAPPING:
        raise ConfigurationError(f"text_config.model_type: {kind!r} is not a model that transformers knows")
    try:
        return AutoConfig.for_model(kind, **rest)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ConfigurationError(f"text_config: {error}") from None


def _causal_lm(config: PreTrainedConfig) -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if name is None:
        raise ConfigurationError(f"text_config.model_type: {config.model_type!r} is not a decoder language model")
    return [name]


AutoConfig.register(QuartetConfig.model_type, QuartetConfig, exist_ok=True)
