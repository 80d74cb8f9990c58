"""Reads what `/metrics` says, and what it says more than before."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Scrape:
    """The values of a moment, or what was added between two."""

    values: dict[Series, float]

    @classmethod
    def parse(cls, text: str) -> "Scrape":
        return cls(dict(_samples(text)))

    @classmethod
    def of_server(cls, url: str) -> "Scrape":
        return cls.parse(httpx.get(f"{url}/metrics", timeout=60, verify=False).raise_for_status().text)

    @classmethod
    def of_process(cls) -> "Scrape":
        """What the code that tests import has counted in this process."""
        return cls.parse(generate_latest(REGISTRY).decode())

    def __sub__(self, earlier: "Scrape") -> "Scrape":
        added = {series: value - earlier.values.get(series, 0.0) for series, value in self.values.items()}
        return Scrape({series: value for series, value in added.items() if value})

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.values.items() if found == name and wanted <= has)

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The sums of a name's series by the values of some labels."""
        sums: dict[tuple[str, ...], float] = {}
        for (found, has), value in self.values.items():
            if found == name:
                key = tuple(dict(has)[label] for label in labels)
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def names(self) -> set[str]:
        return {name for name, _ in self.values}


def _samples(text: str) -> Iterator[tuple[Series, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, frozenset(sample.labels.items())), sample.value
