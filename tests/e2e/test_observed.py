"""A server that says everything it can, with keys and little room: its log, its traces, and the alert when it is full.

Prometheus scrapes this server and the shared one, with the shipped rules; the dashboard's queries are asked there.
"""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from server.keys.key import hashed
from tests.support.metrics import Scrape
from tests.support.monitoring import RULES, Prometheus, prometheus, queries
from tests.support.otlp import Collector, Span
from tests.support.reference import audio, image, user
from tests.support.serving import ServerProcess
from tests.support.tiny import picture_bytes, sound_bytes

CHAT = "/v1/chat/completions"
ADMIN, ALICE = "qk-" + "admin-secret-" * 3, "qk-" + "alice-secret-" * 3
PROMPT = "my grandmother's recipe for plum cake"
HEADER = "a-header-that-no-log-may-show"
# Two run, nobody waits, the next is refused.
FLAGS = ("--log-format", "json", "--metrics-by-key", "--max-running", "2", "--max-waiting", "0", "--max-media", "4")


@dataclass(frozen=True)
class Observed:
    """The server, what it sends its traces to, and who it knows."""

    server: ServerProcess
    collector: Collector

    def ask(
        self, *parts: object, key: str = ALICE, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        body = {"model": "tiny", "messages": [user(*parts)], "max_tokens": 4, "temperature": 0, **options}  # type: ignore[arg-type]
        sent = {"authorization": f"Bearer {key}", "x-secret": HEADER, **(headers or {})}
        return httpx.post(self.server.url + CHAT, json=body, headers=sent, timeout=120, verify=False)

    def lines(self) -> list[dict[str, Any]]:
        """The whole log."""
        return [json.loads(line) for line in self.server.log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def observed(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    keys = folder / "keys.yaml"
    keys.write_text(yaml.safe_dump({"ops": {"hash": hashed(ADMIN), "role": "admin"}, "alice": {"hash": hashed(ALICE)}}))
    with Collector() as collector:
        flags = (*FLAGS, "--keys-file", str(keys), "--otlp-endpoint", collector.url)
        server = ServerProcess.start(tiny_checkpoint, folder, *flags).wait()
        yield Observed(server, collector)
        server.stop()


@pytest.fixture(scope="module")
def mixture(observed: Observed) -> dict[str, httpx.Response]:
    """Good and bad requests, by name; every one full of what must not be written down."""
    broken = {"type": "image_url", "image_url": {"url": "data:;base64," + base64.b64encode(PROMPT.encode()).decode()}}
    answers = {
        "good": observed.ask(PROMPT, image(0), audio(0), headers={"x-request-id": "good"}),
        "stream": observed.ask(PROMPT, image(0), stream=True, headers={"x-request-id": "stream"}),
        "broken": observed.ask(PROMPT, broken, headers={"x-request-id": "broken"}),
        "unknown": observed.ask(PROMPT, key="qk-" + "somebody-else-" * 3, headers={"x-request-id": "unknown"}),
        "bad id": observed.ask(PROMPT, headers={"x-request-id": f"{PROMPT}"}),
        "bad type": observed.ask(PROMPT, temperature=PROMPT, headers={"x-request-id": "type"}),
        "bad name": observed.ask(PROMPT, model=PROMPT, headers={"x-request-id": "name"}),
        "bad schema": observed.ask(
            PROMPT,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": PROMPT}}},
            headers={"x-request-id": "schema"},
        ),
    }
    sent = {"authorization": f"Bearer {ALICE}", "content-type": "application/json", "x-request-id": "json"}
    url = observed.server.url
    answers["no json"] = httpx.post(url + CHAT, content=PROMPT, headers=sent, timeout=60, verify=False)
    sent["x-request-id"] = "nowhere"
    answers["nowhere"] = httpx.get(f"{url}/v1/{ALICE}?q={ALICE}", headers=sent, timeout=60, verify=False)
    # Beyond HTTP: what is answered before any of our code runs.
    httpx.request("BREW", url, headers={"x-secret": HEADER}, timeout=60, verify=False)
    return answers


def test_one_line_for_every_request(observed: Observed, mixture: dict[str, httpx.Response]) -> None:
    lines = {line["request_id"]: line for line in observed.lines() if line["logger"] == "server.access"}
    for name, answer in mixture.items():
        line = lines[answer.headers["x-request-id"]]
        assert (line["status"], line["method"]) == (answer.status_code, answer.request.method), name
        assert line["sent_bytes"] == len(answer.content), name
        if answer.status_code >= 400:
            assert line["error"] == answer.json()["error"]["code"], name
    good = lines["good"]
    usage = mixture["good"].json()["usage"]
    assert {name: good[name] for name in ("key", "route", "image_tokens", "audio_tokens", "media", "error")} == {
        "key": "alice",
        "route": CHAT,
        "image_tokens": 4,
        "audio_tokens": 4,
        "media": 2,
        "error": None,
    }
    assert (good["prompt_tokens"], good["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert good["media_bytes"] == len(picture_bytes(0)) + len(sound_bytes(0))
    assert lines["stream"]["first_byte_seconds"] <= lines["stream"]["seconds"]
    assert lines["unknown"]["key"] is None
    assert mixture["bad id"].headers["x-request-id"] != PROMPT


def test_no_line_holds_what_a_client_sent(observed: Observed, mixture: dict[str, httpx.Response]) -> None:
    text = observed.server.log.read_text()
    secrets = [PROMPT, ALICE, ADMIN, HEADER, "somebody-else", "grandmother"]
    for data in (picture_bytes(0), sound_bytes(0), PROMPT.encode()):
        secrets.append(base64.b64encode(data).decode()[:40])
    assert [secret for secret in secrets if secret in text] == []
    assert "data:image" not in text
    assert re.search(r"[A-Za-z0-9+/]{200,}", text) is None


def test_the_whole_log_is_json(observed: Observed, mixture: dict[str, httpx.Response]) -> None:
    """vLLM's lines and uvicorn's too; what libraries print while the model is loaded is before the first of uvicorn."""
    lines = observed.lines()
    text = observed.server.log.read_text()
    listening = text[text.index('"logger": "uvicorn.error"') :].splitlines()[1:]
    assert [line for line in listening if not line.startswith("{")] == []
    assert {line["logger"].partition(".")[0] for line in lines} >= {"server", "vllm", "uvicorn"}
    assert all({"time", "level", "logger", "process", "message"} <= line.keys() for line in lines)
    assert [line for line in lines if line["logger"] == "uvicorn.access"] == []


def test_what_a_key_used(observed: Observed, mixture: dict[str, httpx.Response]) -> None:
    scraped = httpx.get(f"{observed.server.url}/metrics", headers={"authorization": f"Bearer {ADMIN}"}, verify=False)
    scrape = Scrape.parse(scraped.text)
    by_key = scrape.by("quartet_key_requests_total", "key", "status")
    assert by_key["alice", "200"] == sum(answer.status_code == 200 for answer in mixture.values())
    assert {key for key, _ in by_key} <= {"alice", "ops"}
    assert (
        scrape.total("quartet_key_tokens_total", key="alice", kind="prompt")
        >= (mixture["good"].json()["usage"]["prompt_tokens"])
    )
    assert ALICE not in scraped.text
    assert PROMPT not in scraped.text


def test_the_tree_of_spans(observed: Observed) -> None:
    """From the client's span through ours to vLLM's, as a collector receives them."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = observed.ask(
        "Look ",
        image(5),
        " and hear ",
        audio(5),
        headers={"traceparent": f"00-{trace}-{parent}-01", "x-request-id": "traced"},
    )
    assert answer.status_code == 200
    # request, receive, 2 media each decoded, first token, further tokens, llm_request
    spans = observed.collector.of(trace, 9)
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(found) for name, found in by_name.items()} == {
        f"POST {CHAT}": 1,
        "receive": 1,
        "medium": 2,
        "decode": 2,
        "first token": 1,
        "further tokens": 1,
        "llm_request": 1,
    }
    (root,) = by_name[f"POST {CHAT}"]
    assert root.parent == parent
    assert root.service == "quartet"
    media = {span.id for span in by_name["medium"]}
    assert {span.parent for span in by_name["decode"]} == media
    for name in ("receive", "medium", "first token", "further tokens", "llm_request"):
        assert {span.parent for span in by_name[name]} == {root.id}, name
    for span in spans:
        assert root.begin <= span.begin <= span.end, span.name
        assert span.end <= root.end or span.name == "llm_request"
    assert {span.attributes["quartet.modality"] for span in by_name["medium"]} == {"image", "audio"}
    assert root.attributes["quartet.request_id"] == "traced"
    assert root.attributes["quartet.key"] == "alice"
    assert root.attributes["http.response.status_code"] == 200
    (line,) = [line for line in observed.lines() if line.get("request_id") == "traced" and line["message"] == "request"]
    assert line["trace_id"] == trace


def test_spans_hold_nothing_a_client_sent(observed: Observed, mixture: dict[str, httpx.Response]) -> None:
    text = json.dumps([[span.name, span.attributes] for span in observed.collector.spans])
    assert [secret for secret in (PROMPT, ALICE, HEADER, "grandmother") if secret in text] == []


@pytest.fixture(scope="module")
def monitor(
    observed: Observed, server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """The shipped rules, but that nothing has to last for minutes before an alert fires."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (Debian: prometheus)")
    rules = re.sub(r"for: \d+m", "for: 1s", RULES.read_text())
    targets = {f"127.0.0.1:{server.port}": None, f"127.0.0.1:{observed.server.port}": ADMIN}
    with prometheus(tmp_path_factory.mktemp("prometheus"), targets, rules) as running:
        running.until("count(up == 1) == 2")
        yield running


def test_every_query_of_the_dashboard_gives_something(
    monitor: Prometheus, observed: Observed, server: ServerProcess, mixture: dict[str, httpx.Response]
) -> None:
    for number in range(3):
        assert server.chat([user(image(number), audio(number), "again")], stream=True).status_code == 200
        server.chat([user({"type": "image_url", "image_url": {"url": "data:;base64,AAAA"}})])
    monitor.until("sum(rate(quartet_requests_total[1m])) > 0")
    # Some are made of recorded series, which come an evaluation later than what they are recorded from.
    for query in queries().values():
        monitor.until(query, seconds=30)
    assert monitor.query("quartet_build_info")[0]["metric"]["version"]


def test_a_full_server_makes_the_alert_fire(monitor: Prometheus, observed: Observed, server: ServerProcess) -> None:
    assert monitor.query('ALERTS{alertname="QuartetOverload", alertstate="firing"}') == []
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            tasks = [pool.submit(observed.ask, PROMPT, max_tokens=64, ignore_eos=True) for _ in range(8)]
            statuses = [task.result().status_code for task in tasks]
            assert statuses.count(503) > 0
            assert statuses.count(200) > 0
    fired = monitor.until('ALERTS{alertname="QuartetOverload", alertstate="firing"}')
    assert [alert["metric"]["instance"] for alert in fired] == [f"127.0.0.1:{observed.server.port}"]
    assert monitor.query('ALERTS{alertname="QuartetErrorRatio", alertstate="firing"}') == []
