"""`quartet chat`: a small terminal client on the official `openai` package.

A line may name pictures and sounds as `@path`, anywhere and as often as wanted; each is sent at its place in the text.
Quotes allow spaces: `@"my cat.png"`. Commands: `/image PATH` and `/audio PATH` attach a medium to the next message,
`/clear` starts over, `/quit` (or end of input) ends. Read from a pipe it asks nothing and prints answers only.
"""

import base64
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from model.errors import MediaError, QuartetError

AUDIO_SUFFIXES = {".wav": "wav", ".mp3": "mp3", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg", ".aiff": "aiff"}
AUDIO_SUFFIXES |= {suffix: suffix[1:] for suffix in (".m4a", ".mp4", ".webm", ".aac", ".opus")}
IMAGE_SUFFIXES = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".gif": "gif",
    ".bmp": "bmp",
    ".tiff": "tiff",
}
# Punctuation after a path belongs to the sentence.
_MENTION = re.compile(r'(?:(?<=\s)|^)@(?:"([^"]+)"|(\S+?)(?=[?!.,;:)]*(?:\s|$)))')
HELP = "@path attaches a picture or sound at its place; /image PATH, /audio PATH, /clear, /quit"


class ChatError(QuartetError):
    """The server cannot be reached or refused the conversation."""

    code = "chat_failed"


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Where to talk to, and how."""

    url: str = "http://127.0.0.1:8000/v1"
    """The server's address, with /v1."""
    key: str = "none"
    """API key."""
    model: str | None = None
    """Model id; the server's first by default."""
    system: str | None = None
    """System message."""
    max_tokens: int = 256
    """Longest answer, tokens."""
    temperature: float = 0.0
    """0 always gives the same answer."""


def part(path: Path) -> dict[str, Any]:
    """A picture or sound file as a content part of the API; the suffix says which of them it is.

    Raises:
        MediaError: no such file, or a suffix that is neither a picture's nor a sound's.
    """
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES and suffix not in AUDIO_SUFFIXES:
        known = " ".join([*IMAGE_SUFFIXES, *AUDIO_SUFFIXES])
        raise MediaError(f"{path}: neither a picture nor a sound by its name; known are {known}")
    try:
        data = base64.b64encode(path.expanduser().read_bytes()).decode()
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from None
    if suffix in AUDIO_SUFFIXES:
        return {"type": "input_audio", "input_audio": {"data": data, "format": AUDIO_SUFFIXES[suffix]}}
    return {"type": "image_url", "image_url": {"url": f"data:image/{IMAGE_SUFFIXES[suffix]};base64,{data}"}}


def parts(line: str) -> list[dict[str, Any]]:
    """A line as content parts, media where they are named.

    Raises:
        MediaError: a file that cannot be read; an `@word` that is no file's name stays text.
    """
    found: list[dict[str, Any]] = []
    end = 0
    for match in _MENTION.finditer(line):
        path = Path(match[1] or match[2])
        if not path.suffix:
            continue
        if text := line[end : match.start()]:
            found.append({"type": "text", "text": text})
        found.append(part(path))
        end = match.end()
    if text := line[end:]:
        found.append({"type": "text", "text": text})
    return found


@dataclass
class Conversation:
    """A conversation with a server, several turns long."""

    chat: Chat
    messages: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Connect, and find out the model's id."""
        from openai import OpenAI, OpenAIError

        self.client = OpenAI(base_url=self.chat.url, api_key=self.chat.key, max_retries=0)
        try:
            self.model = self.chat.model or self.client.models.list().data[0].id
        except OpenAIError as error:
            raise ChatError(f"{self.chat.url}: {_reason(error)}; is `quartet serve` running?") from None
        self.clear()

    def clear(self) -> None:
        """Forget everything but the system message."""
        self.messages = [{"role": "system", "content": self.chat.system}] if self.chat.system else []

    def ask(self, content: list[dict[str, Any]]) -> Iterator[str]:
        """Send a turn and give the answer piece by piece; a refused turn is forgotten.

        Raises:
            ChatError: the server's own words.
        """
        from openai import OpenAIError

        self.messages.append({"role": "user", "content": content})
        answer = ""
        try:
            stream: Any = self.client.chat.completions.create(
                model=self.model,
                messages=self.messages,  # type: ignore[arg-type]
                max_tokens=self.chat.max_tokens,
                temperature=self.chat.temperature,
                stream=True,
            )
            for chunk in stream:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if piece:
                    answer += piece
                    yield piece
        except OpenAIError as error:
            self.messages.pop()
            raise ChatError(_reason(error)) from None
        self.messages.append({"role": "assistant", "content": answer})


def run(chat: Chat) -> None:
    """Read lines until the end of input and answer each."""
    console = Console(highlight=False, soft_wrap=True)
    conversation = Conversation(chat)
    interactive = sys.stdin.isatty()
    if interactive:
        console.print(f"[bold]{conversation.model}[/bold] at {chat.url}. {HELP}", markup=True)
    attached: list[dict[str, Any]] = []
    for line in _lines(console, interactive):
        command, _, argument = line.partition(" ")
        try:
            if command == "/quit":
                return
            if command == "/clear":
                conversation.clear()
                attached = []
            elif command in ("/image", "/audio"):
                attached.append(part(Path(argument.strip())))
            elif command.startswith("/") and command[1:].isalpha():
                console.print(HELP, markup=False, style="dim")
            elif content := [*attached, *parts(line)]:
                attached = []
                for piece in conversation.ask(content):
                    # Written as it is: an answer is text, never markup.
                    console.out(piece, end="")
                console.print()
        except QuartetError as error:
            print(error, file=sys.stderr)
            if not interactive:
                raise


def _lines(console: Console, interactive: bool) -> Iterator[str]:
    if not interactive:
        yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        return
    while True:
        try:
            line = console.input("[bold cyan]>[/bold cyan] ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if line.strip():
            yield line


def _reason(error: Exception) -> str:
    """The server's own message, without the client's wrapping."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or error)
