"""The numbers of a real server are those of what its clients did."""

import base64
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from server.metrics.definitions import DEFINED
from tests.support.metrics import Scrape
from tests.support.reference import audio, image, user
from tests.support.serving import MAX_BODY_BYTES, ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

CHAT = "/v1/chat/completions"
BROKEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"x" * 40).decode()}}


def settled(server: ServerProcess) -> Scrape:
    """A scrape in which nothing is in flight but itself."""
    for _ in range(50):
        if Scrape.of_server(server.url).total("quartet_requests_in_flight") == 1:
            # Once more: a scrape reads one file after the other, and the counters' may have come first.
            return Scrape.of_server(server.url)
    raise AssertionError("requests still in flight")


def test_counters_add_up(server: ServerProcess, client: httpx.Client) -> None:
    """What was answered, refused, decoded, encoded: every number, for a mixture of good and bad requests."""
    before = settled(server)
    fresh = 7000  # media that no other test sends, so that the engine must encode them
    seen: list[int] = []

    def ask(*parts: object, **options: object) -> None:
        body = {"model": "tiny", "messages": [user(*parts)], "max_tokens": 4, **options}  # type: ignore[arg-type]
        seen.append(client.post(CHAT, json=body).status_code)

    ask("text only")
    ask("Look ", image(fresh), " and hear ", audio(fresh))
    ask(image(fresh), image(fresh + 1), "again", stream=True)
    ask("broken ", BROKEN)
    ask("a part of no form ", {"type": "image_url"})
    ask("no such model", model="other")
    ask("too long", max_tokens=10**9)
    seen.append(client.post(CHAT, content=b"{", headers={"content-type": "application/json"}).status_code)
    seen.append(client.post(CHAT, content=b"x" * (MAX_BODY_BYTES + 1)).status_code)
    seen.append(client.get("/no/such/place").status_code)
    seen.append(client.get("/v1/models").status_code)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: server.chat([user(image(fresh + 2), str(n))]).status_code, range(8)))
    added = settled(server) - before

    assert seen == [200, 200, 200, 400, 400, 404, 400, 400, 413, 404, 200]
    assert answers == [200] * 8
    counted = added.by("quartet_requests_total", "route", "status")
    assert counted.pop(("/metrics", "200")) >= 1
    assert counted == {
        (CHAT, "200"): 11,
        (CHAT, "400"): 4,
        (CHAT, "404"): 1,
        (CHAT, "413"): 1,
        ("other", "404"): 1,
        ("/v1/models", "200"): 1,
    }
    assert added.total("quartet_request_duration_seconds_count", route=CHAT) == 17
    assert added.total("quartet_time_to_first_byte_seconds_count", route=CHAT) == 1
    reasons = added.by("quartet_rejected_requests_total", "reason")
    assert sum(reasons.values()) == sum(status >= 400 for status in seen)
    assert reasons["invalid_media",] == reasons["invalid_part",] == reasons["request_too_large",] == 1
    assert (reasons["model_not_found",], reasons["not_found",], reasons["invalid_json",]) == (1, 1, 1)
    assert "quartet_client_disconnects_total" not in added.names()
    # 4 good media, 8 times the same, 2 that were refused.
    outcomes = added.by("quartet_media_items_total", "outcome")
    assert sum(outcomes.values()) == 4 + 8 + 2
    assert outcomes["refused",] == 2
    assert outcomes["decoded",] + outcomes.get(("cached",), 0) == 12
    assert added.total("quartet_media_items_total", modality="audio") == 1
    assert added.total("quartet_media_bytes_total", modality="audio") == len(sound_bytes(fresh))
    assert added.total("quartet_media_bytes_total", modality="image") >= len(picture_bytes(fresh))
    assert added.by("quartet_prompt_media_tokens_total", "modality") == {("image",): 4 * 11, ("audio",): 4}
    # Three pictures and a sound were new to the engine.
    assert added.total("quartet_encoder_batch_size_sum", modality="image") == 3
    assert added.total("quartet_encoder_batch_size_sum", modality="audio") == 1
    assert added.total("quartet_encoder_seconds_count") == added.total("quartet_encoder_batch_size_count")
    assert added.total("quartet_encoder_seconds_sum") > 0
    # The engine's own numbers stand beside ours.
    assert added.total("vllm:request_success_total") == 11


def test_clients_that_leave_are_counted(server: ServerProcess, client: httpx.Client) -> None:
    before = settled(server)
    body = {"model": "tiny", "messages": [user("go on")], "max_tokens": 400, "ignore_eos": True, "stream": True}
    for _ in range(3):
        with client.stream("POST", CHAT, json=body) as response:
            next(response.iter_raw(1))
    added = settled(server) - before
    assert added.by("quartet_client_disconnects_total", "route") == {(CHAT,): 3}
    assert added.total("quartet_requests_total", route=CHAT, status="200") == 3


def test_every_defined_metric_is_there(server: ServerProcess, client: httpx.Client) -> None:
    text = client.get("/metrics").text
    described = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE quartet_")}
    assert set(described) <= set(DEFINED)
    for name, kind in described.items():
        assert DEFINED[name].kind == kind
    scrape = Scrape.parse(text)
    (labels,) = (dict(labels) for name, labels in scrape.values if name == "quartet_build_info")
    assert (labels["model_name"], labels["vllm_version"]) == ("tiny", "0.32.0")
    assert scrape.total("quartet_engine_alive") == 1
    assert scrape.total("quartet_draining") == 0
    assert scrape.total("quartet_queue_capacity") == 256
    assert scrape.total("quartet_asyncio_tasks") > 0
    for part in ("server", "engine", "forkserver"):
        assert scrape.total("quartet_process_resident_memory_bytes", process=part) > 100e6


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_has_nothing_to_say_about_our_metrics(client: httpx.Client) -> None:
    """What vLLM calls its own metrics is not ours to change."""
    text = client.get("/metrics").text
    ours = [line for line in text.splitlines() if "quartet_" in line.split("{")[0]]
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input="\n".join(ours) + "\n", capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert len(ours) > 100
