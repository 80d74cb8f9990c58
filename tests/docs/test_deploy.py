"""Runs what docs/deploy.md and helm/README.md show, and compares the tables of docs/deploy.md with the code."""

import re
from pathlib import Path

import pytest
from transformers import LlamaConfig

from model.configuration import QuartetConfig
from server.launcher import token_bytes
from tests.docs.deployment import Deployment
from tests.docs.markdown import ROOT, blocks, prose

DOCUMENT = "docs/deploy.md"
# Layers, heads of keys and values, width of a head: as published.
SHAPES = {
    "SmolLM2-135M": (30, 3, 64),
    "TinyLlama-1.1B": (22, 4, 64),
    "Qwen2.5-7B": (28, 4, 128),
    "Mistral-7B": (32, 8, 128),
    "Llama-3.1-8B": (32, 8, 128),
    "Llama-3.1-70B": (80, 8, 128),
}


@pytest.mark.parametrize("document", [DOCUMENT, "helm/README.md"])
def test_commands(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    place = Deployment()
    ran = 0
    for block in blocks(document):
        assert block.language == "sh"
        for words in block.commands:
            if words[0] == "quartet":
                from model.cli import main

                with pytest.raises(SystemExit) as end:
                    main([*words[1:-1], str(tmp_path / words[-1])])
                assert end.value.code in (0, None)
            else:
                place.run(words)
            ran += 1
    assert ran >= 2


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins with these words."""
    text = prose(DOCUMENT)
    table = text[text.index(f"| {heading}") :].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_memory_is_what_the_server_computes() -> None:
    table = rows("language model")
    assert [row[0] for row in table] == list(SHAPES)
    for name, parameters, weights, per_token, per_medium, tokens in table:
        layers, heads, width = SHAPES[name]
        text = LlamaConfig(
            num_hidden_layers=layers,
            num_key_value_heads=heads,
            num_attention_heads=heads,
            head_dim=width,
            hidden_size=heads * width,
        )
        config = QuartetConfig.__new__(QuartetConfig)
        object.__setattr__(config, "get_text_config", lambda text=text: text)
        size = token_bytes(config, "bfloat16")
        assert float(per_token) == size / 1024
        assert float(per_medium) == 4 * size / 1024
        assert int(tokens.replace(",", "")) == (10 << 30) // size
        assert float(weights) == pytest.approx(float(parameters) * 2e9 / 2**30, abs=0.06)
    for _, millions, size in rows("encoder"):
        assert float(size) == pytest.approx(float(millions) * 4e6 / 2**30, abs=0.06)


def test_the_share_of_memory_is_vllm_s() -> None:
    cache = pytest.importorskip("vllm.config.cache")
    share = cache.CacheConfig.__dataclass_fields__["gpu_memory_utilization"].default
    share = getattr(share, "default", share)
    assert f"vLLM takes {share * 100:.0f} % of the memory" in prose(DOCUMENT)


def test_ci_files_are_named_where_they_belong() -> None:
    named = set(re.findall(r"ci/([a-z-]+)-values\.yaml", prose("helm/README.md")))
    files = {path.name.removesuffix("-values.yaml") for path in (ROOT / "helm" / "ci").glob("*-values.yaml")}
    assert files - named == {"everything"}
