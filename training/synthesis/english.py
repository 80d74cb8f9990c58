"""English plurals of the names of things, for questions such as "How many dogs are there?"."""

import re

_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "half": "halves",
    "calf": "calves",
    "wife": "wives",
    "life": "lives",
    "scarf": "scarves",
    "ox": "oxen",
    "potato": "potatoes",
    "tomato": "tomatoes",
}
_REGULAR = {"human", "german", "roman"}
_SAME = {"sheep", "fish", "deer", "aircraft", "scissors", "skis", "trousers", "glasses", "broccoli", "luggage", "bread"}


def plural(name: str) -> str:
    """The plural of a noun or of a noun phrase that ends with its noun, such as `traffic light`."""
    before, space, noun = name.rpartition(" ")
    return before + space + _plural_of(noun)


def _plural_of(noun: str) -> str:
    lower = noun.lower()
    if lower in _SAME or lower in _IRREGULAR.values():
        return noun
    if lower in _IRREGULAR:
        return _IRREGULAR[lower]
    if lower.endswith("man") and lower not in _REGULAR:
        return noun[:-3] + "men"
    if re.search(r"(?:s|x|z|ch|sh)$", lower):
        return noun + "es"
    if re.search(r"[^aeiou]y$", lower):
        return noun[:-1] + "ies"
    return noun + "s"
