"""How the projectors of a recipe start, and the groups of named concepts that some of them start from.

The settings as a recipe file gives them; `training.initialise` and `training.concepts` do what they say.
"""

from dataclasses import dataclass, field

from model.errors import ConfigurationError
from model.fields import check_choice, check_range

# The source of synthetic features of the encoders' own classes, made by the run and not by a corpus.
CONCEPTS = "concepts"


@dataclass(frozen=True, kw_only=True)
class Refit:
    """How the scores of a group are fitted once more when everything else is trained."""

    fit: bool = True
    """False: the scores stay those there are, and only `sharpness` and `silence` change them."""
    sharpness: float = 1.0
    """Factor on the scores, as in `Concepts`."""
    units: int = 0
    """Hidden units between the features and the scores, see `training.scorer`; 0: a linear probe."""
    others: float = 0.5
    """Media that the group is to be silent about, for each that it names; as many as there are, at most."""
    silence: float = 0.0
    """Added to the score of saying nothing, before `sharpness`: below 0 the group speaks more readily."""
    silent_about: list[str] = field(default_factory=list)
    """Sources of the stages whose media the group is to be silent about, at most `others` from each of them for each
    medium that it names; by default all others of the corpus together. `concepts`: synthetic features."""

    def __post_init__(self) -> None:
        check_range("sharpness", self.sharpness, 0.01, 100)
        check_range("units", self.units, 0, 1 << 16)
        check_range("others", self.others, 0.0, 1000.0)
        check_range("silence", self.silence, -100.0, 100.0)
        if not self.fit and (self.units or self.silent_about):
            raise ConfigurationError("fit: false goes without units and silent_about, which say how to fit")


@dataclass(frozen=True, kw_only=True)
class Concepts:
    """One group of named concepts to start from: the encoder's own classes, or labelled tasks of the corpus."""

    names: str | None = None
    """File beside the recipe with the names of the encoder's own classes, one per line."""
    tasks: list[str] = field(default_factory=list)
    """Tasks whose labels are the concepts; a linear probe is fitted on their training media."""
    slot: int = 0
    """First soft token the name is written to."""
    sharpness: float = 1.0
    """Factor on the scores: above 1 the most probable concept speaks louder than the encoder's own confidence."""
    silent: bool = True
    """With `tasks`: whether the group says nothing about media of other sources; if not, it always names one."""
    behind: str | None = None
    """A task of another group, which may be silent: this one speaks as far as that one says nothing of a medium."""
    noise: float = 0.0
    """Of the media that another group is asked about, the share for which this one names a concept at random while the
    stages are trained, see `training.noise`."""
    mixed: float = 0.0
    """Of the media that this group itself is asked about, the share for which it names a concept of another of its
    `tasks` besides."""
    per_class: int = 0
    """With `names`: synthetic feature vectors per class to train on."""
    refit: Refit | None = None
    """After the last stage: other scores for the same concepts, see `training.refit`. None: they stay."""

    def __post_init__(self) -> None:
        if self.refit is not None and self.refit.units and not self.tasks:
            raise ConfigurationError("refit.units: goes with tasks; an encoder's own classes have its own head")
        if (self.names is None) == (not self.tasks):
            raise ConfigurationError("names: give either names or tasks")
        if self.mixed and len(self.tasks) < 2:
            raise ConfigurationError("mixed: goes with two tasks or more")
        if self.per_class and self.names is None:
            raise ConfigurationError("per_class: goes with names; the media of tasks are in the corpus")
        check_range("slot", self.slot, 0, 4096)
        check_range("sharpness", self.sharpness, 0.01, 100)
        check_range("per_class", self.per_class, 0, 10_000)
        check_range("noise", self.noise, 0.0, 1.0)
        check_range("mixed", self.mixed, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """How a projector starts."""

    type: str = "random"
    """`random`, `ridge` (closed form to the answer's first tokens) or `names`."""
    concepts: list[Concepts] = field(default_factory=list)
    """For `names`: one softmax group each."""

    def __post_init__(self) -> None:
        check_choice("type", self.type, ("random", "ridge", "names"))
        if bool(self.concepts) != (self.type == "names"):
            raise ConfigurationError("concepts: go with type names, and names needs at least one group")
        for index, concepts in enumerate(self.concepts):
            front = self.front(index)
            if concepts.behind is None:
                continue
            if front is None or front == index:
                raise ConfigurationError(f"concepts[{index}].behind: {concepts.behind} is no task of another group")
            if not self.concepts[front].silent or self.concepts[front].behind is not None:
                raise ConfigurationError(
                    f"concepts[{index}].behind: the group of {concepts.behind} must be one that may be silent and is "
                    "behind none itself"
                )

    def front(self, index: int) -> int | None:
        """The number of the group that group `index` is behind, None where it is behind none."""
        task = self.concepts[index].behind
        return next((number for number, group in enumerate(self.concepts) if task in group.tasks), None)

    def asked(self, modality: str) -> dict[str, int]:
        """By task, the number of the group that its questions ask for."""
        found = {task: index for index, group in enumerate(self.concepts) for task in group.tasks}
        # Synthetic media are asked for the encoder's own classes.
        own = [index for index, group in enumerate(self.concepts) if group.names is not None]
        return found | {f"{CONCEPTS}/{modality}": index for index in own[:1]}
