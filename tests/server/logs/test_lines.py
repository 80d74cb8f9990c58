"""What is written, and what never is."""

import asyncio
import base64
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.errors import ApiError, refuse
from server.exchange import Exchange, begin
from server.logs.config import logging_config
from server.logs.lines import FIELDS, JsonLines, TextLines
from server.settings import ServerSettings

PICTURE = base64.b64encode(bytes(range(256)) * 3).decode()
SECRET = "qk-" + "s3cr3t" * 8
PROMPT = "my grandmother's recipe"


@pytest.fixture(autouse=True)
def _no_request() -> None:
    """Other tests may have left theirs behind."""
    begin(Exchange(request_id=""))


@pytest.fixture
def request_at_hand() -> Iterator[Exchange]:
    exchange = Exchange(request_id="req-1")
    begin(exchange)
    yield exchange
    begin(Exchange(request_id=""))


def record(name: str, message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.INFO, __file__, 1, message, args, exc_info)


def parsed(one: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(one)
    assert "\n" not in line
    return dict(json.loads(line))


def caught(act: Callable[[], object]) -> BaseException:
    try:
        act()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_line_of_json() -> None:
    one = record("server.life", "ending: %d requests\nmay run", 3)
    one.created = 1764108000.25
    setattr(one, FIELDS, {"key": "alice"})
    assert parsed(one) == {
        "time": "2025-11-25T22:00:00.250+00:00",
        "level": "info",
        "logger": "server.life",
        "process": "MainProcess",
        "message": "ending: 3 requests\nmay run",
        "key": "alice",
    }


def test_a_line_of_text() -> None:
    one = record("server.life", "ending:\nnow")
    one.created = 1764108000.25
    setattr(one, FIELDS, {"key": "alice", "status": 200, "error": None})
    expected = "2025-11-25T22:00:00.250+00:00 INFO server.life [MainProcess] ending:\n    now key=alice status=200"
    assert TextLines().format(one) == expected


def test_our_lines_carry_the_request(request_at_hand: Exchange) -> None:
    assert parsed(record("server.keys", "read again"))["request_id"] == "req-1"
    # A task of the engine may live on in the context of the request that started it.
    assert "request_id" not in parsed(record("vllm.v1.engine", "a message"))


def test_lone_surrogates_and_broken_arguments_are_no_reason_to_lose_a_line() -> None:
    assert parsed(record("server.x", "a \udc80 b"))["message"] == "a ? b"
    assert parsed(record("server.x", "%d things", "no"))["message"] == "%d things"


def test_of_others_only_the_fixed_part_is_written_for_a_request(request_at_hand: Exchange) -> None:
    assert parsed(record("vllm.entrypoints", "ignored: %s", PROMPT))["message"] == "ignored: %s"
    formatted = record("uvicorn.error", f"got data:image/png;base64,{PICTURE} and {PICTURE}")
    assert parsed(formatted)["message"] == "got data:... and ..."


@pytest.mark.parametrize("name", ["server.middleware.errors", "vllm.x", "uvicorn.error", "asyncio"])
def test_tracebacks_say_where_but_not_what(request_at_hand: Exchange, name: str) -> None:
    def fails() -> None:
        def parse(text: str) -> int:
            return int(text)

        try:
            parse(PROMPT)
        except ValueError:
            raise KeyError(SECRET) from None

    def groups() -> None:
        raise ExceptionGroup("several", [caught(fails), ValueError(PICTURE)])  # type: ignore[list-item]

    for act in (fails, groups):
        text = JsonLines().format(record(name, "failed", error=caught(act)))
        for secret in (PROMPT, SECRET, PICTURE):
            assert secret not in text
        assert "KeyError" in text
        assert "in fails" in text
    assert "ExceptionGroup" in text


def test_chains_are_written_oldest_first(request_at_hand: Exchange) -> None:
    def fails() -> None:
        try:
            raise ValueError(PROMPT)
        except ValueError as error:
            raise RuntimeError("the answer had begun when it failed") from error

    exception = parsed(record("server.x", "failed", error=caught(fails)))["exception"]
    assert PROMPT not in exception
    assert exception.index("ValueError\nthen:\n") < exception.index("RuntimeError: the answer had begun")


def test_endless_chains_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert parsed(record("server.x", "failed", error=first))["exception"].count("ValueError") == 2


def test_late_reports_are_careful_without_a_request() -> None:
    late = record(
        "asyncio", f"Task exception was never retrieved\nfuture: ValueError({PROMPT!r})", error=ValueError(PROMPT)
    )
    line = JsonLines().format(late)
    assert PROMPT not in line
    assert json.loads(line)["message"] == "Task exception was never retrieved"


def test_the_machine_s_own_troubles_are_written_out() -> None:
    error = caught(Path("/no/such/file").read_bytes)
    assert "No such file" in parsed(record("vllm.engine", "cannot start", error=error))["exception"]
    assert parsed(record("vllm.engine", "kv cache: %d blocks", 7))["message"] == "kv cache: 7 blocks"


async def test_context_reaches_threads_and_tasks(request_at_hand: Exchange) -> None:
    def line() -> str:
        return JsonLines().format(record("vllm.x", "bad %s", PROMPT))

    assert PROMPT not in await asyncio.to_thread(line)


@pytest.fixture
def configured() -> Iterator[Callable[[ServerSettings], None]]:
    """Applies a configuration; afterwards logging is as before."""
    # All that exist: a server started by another test may have quietened uvicorn's.
    loggers = [logging.getLogger(name) for name in ["", *logging.root.manager.loggerDict]]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers[1:]:
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    yield lambda settings: logging.config.dictConfig(json.loads(json.dumps(logging_config(settings))))
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_configuration(configured: Callable[[ServerSettings], None], capsys: pytest.CaptureFixture[str]) -> None:
    configured(ServerSettings(log_format="json", log_level="warning"))
    for name in ("server.x", "vllm.y", "uvicorn.error", "uvicorn.access", "httpx"):
        logging.getLogger(name).info("not this")
        logging.getLogger(name).warning("but this")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [
        (name, "but this") for name in ("server.x", "vllm.y", "uvicorn.error", "uvicorn.access", "httpx")
    ]
    configured(ServerSettings())
    logging.getLogger("server.x").info("as text")
    assert capsys.readouterr().out.endswith("INFO server.x [MainProcess] as text\n")


def test_refusals_hold_no_payload() -> None:
    """What is raised on purpose may be logged by whoever catches it."""
    assert PICTURE not in str(refuse(400, ApiError(status=400, message=PICTURE).content["message"] or ""))
