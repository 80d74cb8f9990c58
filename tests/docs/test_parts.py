"""Compares the tables of docs/parts.md with the code, and reads its recipe."""

import re

import pytest
import yaml

from model.configuration import parse_modality
from model.encoders import FAMILIES, encoder_config
from model.projectors import TYPES, projector_config
from tests.docs.markdown import ROOT, blocks
from training.weights import FILE, RECORD

DOCUMENT = "docs/parts.md"
TEXT = (ROOT / DOCUMENT).read_text()
(RECIPE,) = blocks(DOCUMENT)
ROWS = {
    match[1]: [cell.strip() for cell in match[2].split("|")]
    for match in re.finditer(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.M)
}


def test_the_tables_are_whole() -> None:
    assert ROWS.keys() == FAMILIES.keys() | TYPES.keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders(family: str) -> None:
    modality, vectors, _, licence = ROWS[family]
    config = encoder_config({"family": family})
    assert (config.modality, config.licence) == (modality, licence)
    assert config.length == 1
    other = re.fullmatch(r"1(?:, or `features: (\w+)`)?", vectors)
    assert other is not None
    assert (other[1] is not None) == hasattr(config, "features")
    if other[1]:
        assert (encoder_config({"family": family, "features": other[1]}).length or 0) > 1


def test_the_recipe_makes_the_numbers_of_the_text() -> None:
    tokens = []
    for number, (name, entry) in enumerate(yaml.safe_load(RECIPE.text)["modalities"].items()):
        assert entry["sha256"] == RECORD
        values = {key: entry[key] for key in ("encoder", "projector")}
        tokens.append(parse_modality(name, {**values, "placeholder": f"<|{name}|>", "placeholder_id": number}).tokens)
    assert f"a picture becomes {tokens[0]} tokens and a sound {tokens[1]}." in " ".join(TEXT.split())
    assert projector_config({"type": "mlp"}).tokens == 4


def test_the_record_is_where_the_text_says() -> None:
    assert f"`{FILE}`" in TEXT
