"""Compares docs/adapters.md with the code."""

import re
from pathlib import Path

from server.adapters.files import AdapterError
from server.middleware.routes import ADAPTER_ROUTES
from server.routes.adapters import Load
from server.settings import ServerSettings, load
from tests.docs.markdown import blocks, inline_code, prose

DOCUMENT = "docs/adapters.md"


def test_settings(tmp_path: Path) -> None:
    given = {}
    for block in blocks(DOCUMENT):
        file = tmp_path / "quartet.yaml"
        file.write_text(block.text)
        settings = load({}, str(file)).settings
        given |= {name: getattr(settings, name) for name in settings.model_fields_set}
        assert settings.serves_adapters
    assert given["lora_modules"] == {"formal": "adapters/formal", "malay": "adapters/malay"}
    assert given["default_mm_loras"]["audio"] in given["lora_modules"]
    defaults = ServerSettings()
    assert (given["max_loras"], given["max_lora_rank"]) == (defaults.max_loras, defaults.max_lora_rank)
    named = {name for name in inline_code(DOCUMENT) if re.fullmatch(r"(max_)?lora_?\w*|default_mm_loras", name)}
    assert named <= set(ServerSettings.model_fields) | set(Load.model_fields)


def test_facts_are_those_of_the_code() -> None:
    code = set(inline_code(DOCUMENT))
    assert {f"POST {path}" for path in ADAPTER_ROUTES} <= code
    assert set(Load.model_fields) <= code
    assert AdapterError.code in code
    assert f"{AdapterError.status}, `{AdapterError.code}`" in prose(DOCUMENT)
