"""How long samples are in tokens, and how long they may be, under a recipe."""

from dataclasses import dataclass

from model.checkpoint import build_config
from model.encoders import EncoderConfig, encoder_config
from model.llm import llm_directory, load_tokenizer
from model.prompt import Prompt
from model.sources import Source, fetch
from training.recipe import Recipe
from training.weights import resolved


@dataclass(frozen=True)
class Measure:
    """What a recipe says about samples."""

    prompt: Prompt
    encoders: dict[str, EncoderConfig]
    """Per modality."""
    limits: dict[str, int]
    """Source -> longest conversation in tokens, over all stages that read it."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Measure":
        """Fetch the tokenizer of a recipe's language model; no weights of encoders.

        Raises:
            SourceError: it cannot be fetched.
        """
        part = resolved(recipe.llm)
        llm = llm_directory(fetch(Source.parse(part.source), sha256=part.sha256), part.sha256)
        # How many concepts a group has changes no token; any number will do.
        entries = {name: m.entry([2] * len(m.initialisation.concepts)) for name, m in recipe.modalities.items()}
        config = build_config(llm, entries)
        limits: dict[str, int] = {}
        for stage in recipe.stages:
            for mixture in stage.data:
                limits[mixture.source] = min(stage.max_length, limits.get(mixture.source, stage.max_length))
        encoders = {name: encoder_config(m.encoder) for name, m in recipe.modalities.items()}
        return cls(Prompt(load_tokenizer(llm, config), config), encoders, limits)
