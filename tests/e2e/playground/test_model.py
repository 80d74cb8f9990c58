"""The playground of the real server: the page it serves, real answers, and requests copied from it that really run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from server.page import page
from tests.support.browser import CAT, SEVEN, Visit, visit
from tests.support.reference import Reference, audio, image, text, user
from tests.support.serving import ServerProcess

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ASKED = user(
    text("Look at "),
    image(data=CAT.read_bytes()),
    text(" and hear 'x' \"y\" $HOME `z` \\ END\n"),
    audio(data=SEVEN.read_bytes()),
)


@pytest.fixture
def real(chrome: "Browser", server: ServerProcess) -> Iterator[Visit]:
    """The page of the real server, short answers set."""
    with visit(chrome, f"{server.url}/", permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.open()
        tab.page.get_by_role("button", name="Settings").click()
        tab.page.get_by_label("Longest answer").fill("8")
        tab.page.get_by_role("button", name="Done").click()
        tab.page.locator(".text").focus()
        yield tab


def ask(tab: Visit) -> None:
    """Write the message that `ASKED` is."""
    tab.write(ASKED["content"][0]["text"])
    tab.choose(CAT)
    tab.write(ASKED["content"][2]["text"])
    tab.choose(SEVEN)
    tab.send()


def test_the_server_sends_the_page_as_it_is(server: ServerProcess) -> None:
    response = httpx.get(f"{server.url}/")
    assert response.content == page().body
    assert page().headers.items() <= dict(response.headers).items()


def test_two_turns_with_real_answers(real: Visit, server: ServerProcess, reference: Reference) -> None:
    ask(real)
    first = server.chat([ASKED]).json()
    said = first["choices"][0]["message"]["content"]
    assert real.answer.split() == said.split()
    details = first["usage"]["prompt_tokens_details"]
    shown = f"{first['usage']['prompt_tokens']} tokens: text {details['text_tokens']}, image 4, audio 4"
    expect(real.page.locator(".turn.user .tally")).to_have_text(shown)
    assert first["usage"]["prompt_tokens"] == len(reference.ids([ASKED]))
    real.write("And now?")
    counted = [ASKED, {"role": "assistant", "content": said}, user(text("And now?"))]
    tokens = len(reference.ids(counted))
    expect(real.page.locator("#count b")).to_have_text(f"{tokens} tokens")
    real.send()
    assert real.answer.split() == server.chat(counted).json()["choices"][0]["message"]["content"].split()


def test_a_recording_is_heard(real: Visit) -> None:
    real.page.get_by_role("button", name="Record a sound").click()
    real.page.wait_for_timeout(1000)
    real.page.get_by_role("button", name="Done").click()
    expect(real.page.locator("#count")).to_contain_text("audio 4")
    real.page.locator(".flow .text").last.focus()
    real.send()
    expect(real.page.locator(".turn.assistant.done")).to_be_visible()


def test_a_damaged_picture_is_marked(real: Visit) -> None:
    real.write("Look ")
    real.drop(("broken.png", "image/png", CAT.read_bytes()[:1000]))
    expect(real.page.locator(".flow .chip.faulty")).to_have_count(1)
    expect(real.page.locator("#notice")).to_contain_text("broken.png: the picture is damaged or truncated")
    real.page.locator(".flow .text").last.focus()
    real.send()
    expect(real.page.locator(".failure")).to_contain_text("messages[0].content[1]")
    expect(real.page.locator(".turn .chip.faulty")).to_have_count(1)


def copied(tab: Visit, name: str) -> str:
    tab.page.get_by_role("button", name="Copy, export, import").click()
    tab.page.get_by_role("button", name=f"Copy as {name}").click()
    expect(tab.page.locator("#notice")).to_have_text(f"Copied as {name}")
    return str(tab.page.evaluate("navigator.clipboard.readText()"))


def test_the_copied_curl_command_runs(real: Visit, server: ServerProcess) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    ask(real)
    script = copied(real, "curl")
    done = subprocess.run(["bash", "-euo", "pipefail"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = server.chat([ASKED]).json()["choices"][0]["message"]["content"]
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == expected


def test_the_copied_python_runs(real: Visit, server: ServerProcess) -> None:
    """With a key in use it is read from the environment, and is not part of the program."""
    real.page.evaluate("sessionStorage.setItem('quartet.playground.key', 'qk-secret')")
    ask(real)
    real.write("More")
    program = copied(real, "Python")
    assert "qk-secret" not in program
    compile(program, "copied.py", "exec")
    assert max(map(len, re.sub(r"\"[^\"]{80,}\"", '""', program).splitlines())) < 160
    done = subprocess.run(
        [sys.executable, "-"], input=program, env=os.environ | {"OPENAI_API_KEY": "qk-secret"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = server.chat([ASKED]).json()["choices"][0]["message"]["content"]
    messages = [ASKED, {"role": "assistant", "content": said}, user(text("More"))]
    assert done.stdout.rstrip("\n") == server.chat(messages).json()["choices"][0]["message"]["content"].rstrip("\n")
