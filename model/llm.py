"""The wrapped language model: from a source to a directory transformers and vLLM both read, and its tokenizer."""

import shutil
import tempfile
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from model.configuration import QuartetConfig
from model.errors import CheckpointError
from model.prompt import PLAIN_TEMPLATE, add_placeholders, chat_template, control_tokens
from model.sources import cache_directory

# Raise this when the conversion below changes what it writes.
CONVERSION = "bf16-1"


def llm_directory(path: Path, sha256: str) -> Path:
    """A Hugging Face directory for the language model at `path`: itself, or the cached conversion of a GGUF file.

    GGUF weights are dequantised to bfloat16 once (about 20 s for 135M parameters).

    Raises:
        CheckpointError: neither a directory with `config.json` nor a `.gguf` file.
    """
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"{path} holds no config.json: give a Hugging Face model directory")
        return path
    if path.suffix != ".gguf":
        raise CheckpointError(f"{path.name} is neither a Hugging Face model directory nor a .gguf file")
    target = cache_directory() / "llm" / f"{sha256[:16]}-{CONVERSION}"
    if not (target / "config.json").is_file():
        _convert_gguf(path, target)
    return target


def load_llm(directory: Path, dtype: torch.dtype | str) -> PreTrainedModel:
    """The language model of a Hugging Face directory, in evaluation mode."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)
    return model.eval()


def load_llm_config(directory: Path) -> PreTrainedConfig:
    """The language model's own configuration."""
    return AutoConfig.from_pretrained(directory, local_files_only=True).get_text_config()


def load_tokenizer(directory: Path, config: QuartetConfig | None = None) -> PreTrainedTokenizerBase:
    """The language model's tokenizer; with `config`, its placeholders and chat template added.

    Raises:
        CheckpointError: the placeholders got other ids than the configuration records, so this is another tokenizer.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if config is None:
        return tokenizer
    # In the order of their ids: JSON files sort the modalities' names, and new tokens get ids as they come.
    specs = dict(sorted(config.modality_specs.items(), key=lambda item: item[1].placeholder_id))
    ids = add_placeholders(tokenizer, [spec.placeholder for spec in specs.values()])
    for (name, spec), token in zip(specs.items(), ids, strict=True):
        if token != spec.placeholder_id:
            raise CheckpointError(
                f"modalities.{name}.placeholder_id: the checkpoint records {spec.placeholder_id}, the tokenizer in "
                f"{directory} gives {token}; this is not the tokenizer it was trained with"
            )
    base = tokenizer.chat_template or PLAIN_TEMPLATE
    controls = control_tokens(tokenizer)
    # Some tokenizers have several templates by name.
    tokenizer.chat_template = (
        {name: chat_template(text, config, controls) for name, text in base.items()}
        if isinstance(base, dict)
        else chat_template(base, config, controls)
    )
    return tokenizer


def pad_embeddings(model: PreTrainedModel, vocab_size: int) -> None:
    """Append zero rows so that every media token id has one; the checkpoint on disk stays untouched."""
    embeddings = model.get_input_embeddings()
    if embeddings.weight.shape[0] >= vocab_size:
        return
    for layer in {embeddings, model.get_output_embeddings()}:
        for name in ("weight", "bias"):
            old = getattr(layer, name, None)
            if old is None or old.shape[0] >= vocab_size:
                continue
            padded = torch.cat([old.data, old.data.new_zeros(vocab_size - old.shape[0], *old.shape[1:])])
            setattr(layer, name, torch.nn.Parameter(padded, requires_grad=old.requires_grad))
        for name in ("num_embeddings", "out_features"):
            if hasattr(layer, name):
                setattr(layer, name, vocab_size)
    model.config.vocab_size = vocab_size
    model.tie_weights()


def _convert_gguf(path: Path, target: Path) -> None:
    from transformers import GgufConfig

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=target.name, dir=target.parent))
    temporary.chmod(0o755)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        try:
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            model = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
        # Readers of damaged or unsupported files end in many kinds of errors.
        except Exception as error:
            raise CheckpointError(f"{path}: cannot be converted ({type(error).__name__}: {error})") from error
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
        try:
            temporary.rename(target)
        except OSError:
            # Another process finished the same conversion first; its result is identical.
            if not (target / "config.json").is_file():
                raise
    finally:
        transformers_logging.set_verbosity(verbosity)
        shutil.rmtree(temporary, ignore_errors=True)
