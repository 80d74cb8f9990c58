"""Checkpoint -> one directory that vLLM (and, packed, transformers) loads without anything else.

`assemble` makes it in the cache with links to the frozen weights: serving a fresh training run copies nothing large.
`pack` makes a self-contained copy for shipping, tokenizer and provenance inside. A LoRA adapter is merged, unless it is
active only with media: then it lies beside the untouched language model, in `adapter/`.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from model.adapter import ADAPTER, MEDIA, adapter_rank
from model.checkpoint import CONFIG, PROJECTORS, PROVENANCE, Checkpoint
from model.configuration import QuartetConfig
from model.errors import CheckpointError
from model.sources import cache_directory
from model.tensor_file import compare, write_tensors

LLM_PREFIX, ENCODERS_PREFIX, PROJECTORS_PREFIX = "language_model.", "encoders.", "projectors."
# Raise this when the assembled layout changes, so that cached assemblies are made again.
LAYOUT = "3"


def is_packed(directory: Path) -> bool:
    """Whether `directory` already holds everything (it came out of `pack` or `assemble`)."""
    return (directory / "config.json").is_file() and (directory / "tokenizer_config.json").is_file()


def assemble(directory: Path) -> Path:
    """A servable directory for the checkpoint in `directory`: itself when packed, else a cached assembly.

    Raises:
        CheckpointError, SourceError, ConfigurationError: the parts are missing or do not fit, named.
    """
    if is_packed(directory):
        check_packed(directory)
        return directory
    checkpoint = Checkpoint.open(directory)
    target = cache_directory() / "assembled" / _fingerprint(checkpoint)
    if target.is_dir() and not all(path.exists() for path in target.iterdir()):
        # The frozen weights it links to have been moved or removed.
        shutil.rmtree(target)
    if not target.is_dir():
        _write(checkpoint, target, link=checkpoint.adapter is None or checkpoint.config.adapter_scope == MEDIA)
    return target


def check_packed(directory: Path) -> None:
    """Check that the encoders and projectors in a packed directory are those its configuration asks for.

    Reads shapes only, so it takes a moment however large the model is.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; named. Or the adapter is missing.
        ConfigurationError: an impossible field in `config.json`.
    """
    config = QuartetConfig.from_pretrained(directory)
    with torch.device("meta"):
        model = nn.ModuleDict(
            {
                "encoders": nn.ModuleDict({name: s.encoder.build() for name, s in config.modality_specs.items()}),
                "projectors": config.build_projectors(),
            }
        )
    shapes = tensor_shapes(directory, (ENCODERS_PREFIX, PROJECTORS_PREFIX))
    compare(shapes, model.state_dict(), str(directory))
    if config.adapter_scope == MEDIA:
        adapter_rank(directory / ADAPTER)


def tensor_shapes(directory: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors without data for every name in the directory's safetensors files that starts with one of `prefixes`."""
    shapes: dict[str, Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            # For its own reason: safetensors says of a file that it may not read that there is none.
            path.open("rb").close()
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118  not a mapping
                shapes |= {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        except SafetensorError as error:
            raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    return shapes


def pack(directory: Path, output: Path) -> Path:
    """Write a self-contained copy of a checkpoint to `output`, which must not exist or be empty."""
    if output.exists() and any(output.iterdir()):
        raise CheckpointError(f"{output} is not empty; pack writes into a new directory")
    if is_packed(directory):
        raise CheckpointError(f"{directory} is already packed")
    _write(Checkpoint.open(directory), output, link=False)
    return output


def _write(checkpoint: Checkpoint, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    temporary.chmod(0o755)
    shards = _shards(checkpoint.llm) if link else []
    link = bool(shards)
    try:
        files = {"llm.safetensors": None if link else _llm_state(checkpoint)} | _trained(checkpoint)
        index: dict[str, str] = {}
        for name, state in files.items():
            if state is not None:
                write_tensors(state, temporary / name)
                index |= dict.fromkeys(state, name)
        if link:
            for shard in shards:
                (temporary / f"llm-{shard.name}").symlink_to(shard.resolve())
        else:
            content = {"metadata": {}, "weight_map": index}
            (temporary / "model.safetensors.index.json").write_text(json.dumps(content, indent=1))
        checkpoint.config.save_pretrained(temporary)
        checkpoint.tokenizer().save_pretrained(temporary)
        shutil.copy(checkpoint.directory / PROVENANCE, temporary)
        if checkpoint.adapter is not None and checkpoint.config.adapter_scope == MEDIA:
            shutil.copytree(checkpoint.adapter, temporary / ADAPTER)
        for extra in (checkpoint.llm / "generation_config.json", checkpoint.directory / "README.md"):
            if extra.is_file():
                shutil.copy(extra, temporary)
        try:
            temporary.rename(target)
        except OSError:
            # Another process finished the same assembly first; its result is identical.
            if not is_packed(target):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _shards(llm: Path) -> list[Path]:
    """The safetensors files of a language model; other layouts of the same weights may lie beside them."""
    index = llm / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [llm / name for name in sorted(names)]
    single = llm / "model.safetensors"
    return [single] if single.is_file() else []


def _trained(checkpoint: Checkpoint) -> dict[str, dict[str, Tensor]]:
    encoders = {
        f"{ENCODERS_PREFIX}{modality}.{name}": tensor.contiguous()
        for modality in checkpoint.config.modality_specs
        for name, tensor in checkpoint.encoder_state(modality).items()
    }
    projectors = {f"{PROJECTORS_PREFIX}{name}": tensor for name, tensor in checkpoint.projector_state().items()}
    return {"encoders.safetensors": encoders, "projectors.safetensors": projectors}


def _llm_state(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The language model in its own dtype, vocabulary padded, under its place in the whole model.

    An adapter is merged, unless it is active only with media.
    """
    state = checkpoint.language_model(dtype="auto", adapter=checkpoint.config.adapter_scope != MEDIA).state_dict()
    seen: dict[int, str] = {}
    unique: dict[str, Tensor] = {}
    for name, tensor in state.items():
        # A tied output layer shares the embedding table's memory and is not stored twice.
        if seen.setdefault(tensor.data_ptr(), name) == name:
            unique[f"{LLM_PREFIX}{name}"] = tensor.contiguous()
    return unique


def _fingerprint(checkpoint: Checkpoint) -> str:
    digest = hashlib.sha256(LAYOUT.encode())
    # Nothing else that a training run may have left in the directory counts.
    own = [checkpoint.directory / name for name in (CONFIG, PROVENANCE, PROJECTORS)]
    for path in (*own, *sorted((checkpoint.directory / ADAPTER).glob("*"))):
        digest.update(path.relative_to(checkpoint.directory).as_posix().encode())
        digest.update(path.read_bytes())
    digest.update(str(checkpoint.directory.resolve()).encode() if "file:" in checkpoint.provenance.llm.source else b"")
    return digest.hexdigest()[:24]
