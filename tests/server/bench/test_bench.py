"""`quartet bench` against servers of known timing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model.cli import build_app, offered_commands
from model.errors import QuartetError
from server.bench.plan import Level, Plan, Target
from server.bench.report import as_json
from server.bench.run import measure, turns
from tests.server.bench.endpoint import Endpoint, serving

ONE = (Level(concurrency=1),)


async def report(plan: Plan, *endpoints: Endpoint, **fields: Any) -> dict[str, Any]:
    targets = [Target(name=f"s{index}", url=one.url, **fields) for index, one in enumerate(endpoints)]
    return as_json(plan, targets, await measure(plan, targets))


async def test_times_are_the_server_s() -> None:
    async with serving(Endpoint(first=0.1, each=0.02)) as endpoint:
        plan = Plan(levels=ONE, requests=5, warm_up=1, output_tokens=6, images=2, image_size=(16, 16))
        found = await report(plan, endpoint, key="secret")
    figures = found["levels"][0]["servers"]["s0"]
    assert (figures["requests"], figures["failed"]) == (5, 0)
    # A busy machine makes times longer, never shorter.
    assert 100 <= figures["ttft"]["p50"] < 1000
    assert 19 <= figures["itl"]["p50"] < 200
    assert 19 <= figures["tpot"]["p50"] < 200
    assert 195 <= figures["e2e"]["p50"] < 2000
    assert figures["seconds"] >= 5 * 0.195
    assert figures["output_tokens_per_request"] == 6
    assert figures["prompt_tokens_per_request"] == 28
    assert figures["tokens_per_medium"] == {"image": 4.0}
    assert figures["cached_token_share"] == 5 / 28
    assert figures["media_per_second"]["image"] == pytest.approx(2 * figures["requests_per_second"])
    assert len(endpoint.bodies) == 6
    assert endpoint.bodies[0]["model"] == "served"
    assert endpoint.keys == {"Bearer secret"}
    assert "secret" not in json.dumps(found)


async def test_two_servers_by_turns() -> None:
    async with serving(Endpoint(first=0.05)) as slow, serving(Endpoint(first=0.01)) as fast:
        found = await report(Plan(levels=ONE, requests=12, output_tokens=1), slow, fast)
    ratios = found["levels"][0]["ratios"]
    assert slow.bodies == fast.bodies
    for name, low, high in (("ttft_p50", 1.5, 6), ("e2e_p50", 1.5, 6), ("requests_per_second", 0.15, 0.7)):
        assert low < ratios[name]["value"] < high
        assert ratios[name]["low"] <= ratios[name]["value"] <= ratios[name]["high"]
        assert ratios[name]["pairs"] == 12
    assert [list(turns(number, 2)) for number in range(4)] == [[1, 0], [0, 1], [1, 0], [0, 1]]


async def test_concurrency_and_blocks() -> None:
    levels = (Level(concurrency=3), Level(concurrency=5))
    async with serving(Endpoint(first=0.02)) as endpoint:
        found = await report(Plan(levels=levels, requests=20, warm_up=0, block=10, output_tokens=1), endpoint)
    assert endpoint.most == 5
    assert [level["level"] for level in found["levels"]] == ["concurrency 3", "concurrency 5"]
    assert all(level["servers"]["s0"]["requests"] == 20 for level in found["levels"])
    assert len(endpoint.bodies) == 40


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    async with serving(Endpoint(first=0.5)) as endpoint:
        plan = Plan(levels=(Level(rate=50.0),), requests=20, warm_up=0, block=20, output_tokens=1)
        found = await report(plan, endpoint)
    # 20 requests in 0.4 s, each of which takes longer than that.
    assert endpoint.most > 10
    assert found["levels"][0]["servers"]["s0"]["seconds"] < 5


async def test_failures_are_counted_and_kept_out_of_times() -> None:
    async with serving(Endpoint(bad=4)) as endpoint, serving(Endpoint(cut=True)) as broken:
        plan = Plan(levels=ONE, requests=8, warm_up=0, output_tokens=2)
        found = await report(plan, endpoint)
        figures = found["levels"][0]["servers"]["s0"]
        assert (figures["failed"], figures["error_rate"]) == (2, 0.25)
        assert figures["errors"] == {"503: too much": 2}
        figures = (await report(plan, broken))["levels"][0]["servers"]["s0"]
        assert figures["errors"] == {"the stream ended before the answer did": 8}
    with pytest.raises(QuartetError, match="/v1/models: ClientConnectorError"):
        await report(plan, endpoint)


async def test_media_by_id_are_uploaded_once() -> None:
    async with serving(Endpoint()) as endpoint:
        plan = Plan(
            levels=ONE, requests=10, warm_up=2, output_tokens=1, images=4, repeat_share=0.75, image_size=(16, 16)
        )
        await report(plan, endpoint, send="file")
    named = [part["file"]["file_id"] for body in endpoint.bodies for part in body["messages"][0]["content"][:-1]]
    assert len(named) == 48
    assert len(endpoint.uploads) == len(set(named)) == 8 + 10


def test_the_command(tmp_path: Path) -> None:
    async def serve_while(call: Any) -> Any:
        async with serving(Endpoint()) as endpoint, serving(Endpoint(bad=1)) as broken:
            return await asyncio.to_thread(call, endpoint.url, broken.url)

    app = build_app(offered_commands())
    file = tmp_path / "bench.json"
    common = ["--requests", "3", "--output-tokens", "2", "--concurrency", "1,2", "--json", str(file)]
    result = asyncio.run(
        serve_while(lambda url, _: CliRunner().invoke(app, ["bench", "--url", url, "--against", url, *common]))
    )
    assert result.exit_code == 0, result.output
    for text in ("concurrency 1", "concurrency 2", "time to first token p50, ms", "ratio", "0 of 3"):
        assert text in result.output
    written = json.loads(file.read_text())
    assert [level["block"] for level in written["levels"]] == [1, 3]
    assert set(written["levels"][0]["servers"]) == {"server", "against"}
    result = asyncio.run(serve_while(lambda _, url: CliRunner().invoke(app, ["bench", "--url", url, *common])))
    assert result.exit_code == 1
    assert "3 x 503: too much" in result.output


@pytest.mark.parametrize("arguments", [("--concurrency", "1.5"), ("--rate", "many"), ("--image-size", "640")])
def test_arguments_that_make_no_sense(arguments: tuple[str, str]) -> None:
    result = CliRunner().invoke(build_app(offered_commands()), ["bench", *arguments])
    assert result.exit_code != 0
    assert arguments[1] in result.output + str(result.exception)
