"""Compares docs/observability.md with the code."""

import re

from server.metrics.definitions import DEFINED
from server.metrics.requests import MAX_KEYS
from tests.docs.markdown import prose

DOCUMENT = "docs/observability.md"


def rows() -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = [line for line in prose(DOCUMENT).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_table_of_metrics() -> None:
    given = [row for row in rows() if row[0].startswith("`quartet_")]
    wanted = [
        [f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help]
        for metric in DEFINED.values()
    ]
    assert given == wanted


def test_names_in_the_text_exist() -> None:
    assert set(re.findall(r"`(quartet_\w+)`", prose(DOCUMENT))) <= set(DEFINED)
    assert f"{MAX_KEYS} of them at most" in prose(DOCUMENT)
