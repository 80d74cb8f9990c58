"""A headless Chromium for tests of the playground: as a user's browser is, with a microphone that plays a file.

Where Chromium or the package that steers it is missing, tests skip themselves and say what to install.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

ROOT = Path(__file__).resolve().parents[2]
CAT, SEVEN = ROOT / "server/examples/cat.png", ROOT / "server/examples/seven.wav"
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={SEVEN}",
)
# What a user waits for at most; machines that run tests are slow.
PATIENCE = 60_000


def chromium() -> str:
    """The browser's program, or the test is skipped."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return found


@contextmanager
def browser() -> Iterator["Browser"]:
    """A browser with an empty profile; its sandbox needs a user that is not root."""
    program = chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    sandbox = () if os.geteuid() else ("--no-sandbox",)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *sandbox])
        yield running
        running.close()


@dataclass
class Visit:
    """One tab on the playground, and what must not happen in it."""

    page: "Page"
    url: str
    complaints: list[str] = field(default_factory=list)
    """Errors of the console and of scripts, but for requests that the server refused."""
    strangers: list[str] = field(default_factory=list)
    """Requests to any other origin."""

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)

    def _heard(self, message: "ConsoleMessage") -> None:
        # That a request was refused is written there by the browser itself.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def _asked(self, request: "Request") -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.strangers.append(request.url)

    def open(self) -> "Visit":
        """Load the page and wait until it knows the model."""
        from playwright.sync_api import expect

        self.page.goto(self.url)
        expect(self.page.locator("#model-name")).not_to_be_empty()
        return self

    def write(self, text: str) -> None:
        """Type where the caret is."""
        self.page.keyboard.insert_text(text)

    def choose(self, *files: Path | dict[str, Any]) -> None:
        """Add files through the file dialog, and wait until they stand in the message."""
        chips = self.page.locator(".flow .chip")
        before = chips.count()
        self.page.set_input_files("#files", list(files))  # type: ignore[arg-type]
        self._wait_for_chips(before + len(files))

    def drop(self, *files: tuple[str, str, bytes]) -> None:
        """Drop files, each (name, type, bytes), on the page, as from the desktop."""
        before = self.page.locator(".flow .chip").count()
        dropped = [[name, kind, list(data)] for name, kind, data in files]
        self.page.evaluate(_DROP, dropped)
        self._wait_for_chips(before + len(files))

    def _wait_for_chips(self, count: int) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(".flow .chip")).to_have_count(count)

    def send(self) -> None:
        """Press Enter, and wait for the end of the answer."""
        from playwright.sync_api import expect

        answers = self.page.locator(".turn.assistant:is(.done, .failed, .stopped)")
        before = self.page.locator(".turn.assistant").count()
        self.page.keyboard.press("Enter")
        expect(answers).to_have_count(before + 1)

    @property
    def answer(self) -> str:
        """The text of the last answer."""
        return self.page.locator(".turn.assistant .said").last.inner_text()


# In the page: a drop with these files, through every handler that a real one meets.
_DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, type, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


@contextmanager
def visit(running: "Browser", url: str, **options: Any) -> Iterator[Visit]:
    """A tab with nothing remembered; afterwards nothing may have gone wrong in it, and no request left the origin."""
    context = running.new_context(viewport={"width": 1000, "height": 760}, **options)
    tab = Visit(context.new_page(), url)
    yield tab
    context.close()
    assert tab.complaints == []
    assert tab.strangers == []
