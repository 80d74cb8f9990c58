"""The page about media says what the code does."""

import re

import yaml

from model.containers import CONTAINER_FORMATS
from model.errors import MediaCostError, MediaError, MediaFetchError, MediaLimitError
from model.media import DEFAULT_LIMITS, IMAGE_FORMATS, MAX_SAMPLING_RATE, SOUND_FORMATS
from server.content import MAX_PARTS
from server.grammars import MAX_CHOICES, MAX_DEPTH, MAX_NODES, MAX_REPEAT, MAX_TEXT
from server.media.pool import CODE, MOST_BY_DEFAULT, PATIENCE
from server.media.worker import BYTES_PER_PIXEL, BYTES_PER_SAMPLE, ROOM
from server.settings import ServerSettings
from server.settings.fetch import FetchSettings
from server.settings.media import MediaSettings
from tests.docs.markdown import ROOT, blocks

PAGE = "docs/media.md"


def rows(heading: str) -> dict[str, list[str]]:
    """Cells by the first cell of every row of the tables below a heading."""
    section = (ROOT / PAGE).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_the_limits_are_those_of_the_code() -> None:
    settings = ServerSettings()
    limits = rows("Limits")
    named = {cells[1].strip("`"): cells[0] for cells in limits.values() if cells[1].startswith("`")}
    assert set(named) == set(MediaSettings.model_fields) - {"max_media"}
    assert named.pop("decode_workers") == f"one a core, at most {MOST_BY_DEFAULT}"
    assert named == {name: str(getattr(settings, name)) for name in named}
    assert limits["channels"][0] == str(DEFAULT_LIMITS.max_channels)
    assert limits["sampling rate, Hz"][0] == str(MAX_SAMPLING_RATE)
    memory = f"{BYTES_PER_PIXEL} bytes a pixel or {BYTES_PER_SAMPLE} a sample, and {ROOM >> 20} MiB"
    assert limits["memory to decode it"][0] == memory
    assert PATIENCE == 10.0


def test_fetching_is_off_and_the_example_turns_it_on() -> None:
    assert ServerSettings().fetch_hosts == ()
    (example,) = [block for block in blocks(PAGE) if block.language == "yaml"]
    assert ServerSettings(**yaml.safe_load(example.text)).fetch_hosts == ("images.example.org", "*.cdn.example.org")
    table = rows("Fetching")
    assert {name.strip("`") for name in table} - {"setting"} == set(FetchSettings.model_fields)
    defaults = {"fetch_redirects", "fetch_seconds", "fetch_concurrency"}
    assert {name: table[f"`{name}`"][0] for name in defaults} == {
        name: str(FetchSettings.model_fields[name].default) for name in defaults
    }


def test_formats_and_codes() -> None:
    formats = " ".join(rows("Ways to send one")[kind][0] for kind in ("pictures", "sounds")).upper()
    for name in {*IMAGE_FORMATS, *SOUND_FORMATS, *CONTAINER_FORMATS} - {"WAVEX", "RF64"}:
        assert re.search(rf"\b{name}\b", formats), name
    codes = {code.split("`")[1] for code in rows("Errors") if code != "`code`"}
    own = {kind.code for kind in (MediaError, MediaLimitError, MediaCostError, MediaFetchError)}
    assert codes == own | {CODE, "invalid_part", "too_many_media"}


def test_bounds_of_requests() -> None:
    text = (ROOT / PAGE).read_text().partition("## Beside media\n")[2]
    assert f"at most {MAX_PARTS} messages and content parts" in text
    bounds = (MAX_NODES, "values"), (MAX_DEPTH, "levels"), (MAX_REPEAT, "repetitions"), (MAX_CHOICES, "choices")
    for number, what in (*bounds, (MAX_TEXT, "characters")):
        assert f"{number} {what}" in " ".join(text.split())
