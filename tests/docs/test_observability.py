"""Compares docs/observability.md with the code."""

import logging
import re
from pathlib import Path

import pytest

from server.exchange import Exchange
from server.logs import access
from server.logs.lines import FIELDS
from server.metrics.definitions import DEFINED
from server.metrics.requests import MAX_KEYS
from server.middleware.outcome import Outcome
from server.settings import load
from server.traces import __doc__ as tree
from tests.docs.markdown import blocks, inline_code, prose

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


def test_fields_of_a_request(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(request_id="x", media_tokens={"image": 4, "audio": 0})
    with caplog.at_level(logging.INFO, "server"):
        access.write(
            Outcome(
                exchange=exchange,
                route="/v1/models",
                method="GET",
                status=200,
                answered=True,
                seconds=0.1,
                first_byte=None,
                received=0,
                sent=0,
                left=False,
            )
        )
    (record,) = caplog.records
    given = [name for row in rows() if not row[0].startswith("`quartet_") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(given) == sorted(getattr(record, FIELDS))


def test_settings(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(DOCUMENT) if block.language == "yaml"]
    file = tmp_path / "quartet.yaml"
    file.write_text(block.text)
    settings = load({}, str(file)).settings
    assert settings.otlp_endpoint == "http://collector:4317"
    assert (settings.log_format, settings.metrics_by_key) == ("json", True)
    assert {"otlp_protocol: http/protobuf", "log_level"} <= set(inline_code(DOCUMENT))


def test_tree_of_spans_is_that_of_the_code() -> None:
    (block,) = [block for block in blocks(DOCUMENT) if block.language == "text"]

    def names(text: str) -> list[str]:
        return re.findall(r"[`|]- (.*?)  ", text)

    assert names(block.text) == names(tree or "")
