"""`quartet bench` against the engine: its counts are the engine's."""

from typing import Any

from server.bench.plan import Level, Plan, Target
from server.bench.report import as_json
from server.bench.run import measure
from tests.support.serving import ServerProcess


async def test_a_mixed_load(server: ServerProcess) -> None:
    targets = [Target(name=name, url=f"{server.url}/v1") for name in ("server", "against")]
    plan = Plan(
        levels=(Level(concurrency=1), Level(concurrency=4)),
        requests=4,
        block=2,
        warm_up=2,
        output_tokens=5,
        images=2,
        sounds=1,
        repeat_share=0.5,
        image_size=(64, 48),
        sound_seconds=0.5,
    )
    report = as_json(plan, targets, await measure(plan, targets))
    figures: list[dict[str, Any]] = [one for level in report["levels"] for one in level["servers"].values()]
    assert len(figures) == 4
    for one in figures:
        assert (one["requests"], one["errors"]) == (4, {})
        assert one["output_tokens_per_request"] == 5
        assert one["tokens_per_medium"] == {"image": 4.0, "audio": 4.0}
        assert one["repeated_media_share"] == 0.5
        assert one["requests_per_second"] > 0
        assert one["ttft"]["p50"] <= one["e2e"]["p50"]
    assert set(report["levels"][0]["ratios"]) >= {"ttft_p50", "e2e_p50", "requests_per_second"}
