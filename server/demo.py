"""`make demo`: start the demo model's server, ask it about a real picture and a real sound, leave it running.

    python -m server.demo [--model DIR] [--port 8000] [--once] [-- further flags of vLLM]

Prints question and answer, then waits for Ctrl-C; `--once` stops the server after the answer. The server's own log goes
to a file, which is shown when it fails to start.
"""

import argparse
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from model.sources import cache_directory, sha256_of
from server.settings import DEMO_MODEL, ServerSettings

EXAMPLES = Path(__file__).resolve().parent / "examples"
# (file, question) of each turn of the demo's chat.
TURNS = (("cat.png", "What is in the picture?"), ("seven.wav", "Which number do you hear?"))
# A line of the log -> how far the start is, and what it is doing then.
STAGES = (
    ("", 0.0, "checking the model"),
    ("Resolved architecture", 0.35, "starting the engine"),
    ("Initializing a V1 LLM engine", 0.65, "loading weights"),
    ("init engine", 0.85, "opening the API"),
    ("Application startup complete", 1.0, "ready"),
)
PATIENCE = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status is 0 when a question was answered."""
    parser = argparse.ArgumentParser(prog="python -m server.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=str(DEMO_MODEL), help="checkpoint directory [default: the demo model]")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")), help="port to listen on")
    parser.add_argument("--once", action="store_true", help="stop after the answer")
    parser.add_argument("flags", nargs="*", help="after --, further flags of vLLM's server")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    settings = ServerSettings(model=options.model, port=options.port, playground=True)
    if _answers(settings):
        console.print(f"Port {settings.port} is in use; choose another one: make demo PORT=8001")
        return 1
    if not fetch(Path(options.model), console):
        return 1
    with tempfile.NamedTemporaryFile("w+", prefix="quartet-", suffix=".log") as log:
        server = start(settings, options.flags, Path(log.name))
        try:
            if not wait(server, settings, Path(log.name), console):
                console.print(Path(log.name).read_text(errors="replace")[-4000:], markup=False)
                return 1
            ask(settings, console)
            if not options.once:
                console.print(f"\nThe server stays at http://{settings.host}:{settings.port}/v1 until Ctrl-C.")
                console.print(f"Try it in a browser: http://{settings.host}:{settings.port}/")
                console.print(
                    f"Talk to it in another terminal: quartet chat --url http://{settings.host}:{settings.port}/v1"
                )
                server.wait()
        except KeyboardInterrupt:
            console.print("\nStopping the server.")
        finally:
            stop(server)
    return 0


def fetch(model: Path, console: Console) -> bool:
    """Download and assemble the model's parts, with their progress bars, unless that was done before.

    In a process of its own, so that this one stays small beside the server.
    """
    if not model.is_dir():
        return True  # the server says what is wrong with it
    record = cache_directory() / "demo" / sha256_of(model)
    if record.is_file():
        return True
    console.print("Fetching the parts of the model (once)")
    if subprocess.run([sys.executable, "-m", "model.cli", "fetch", str(model)], check=False).returncode:
        return False
    record.parent.mkdir(parents=True, exist_ok=True)
    record.touch()
    return True


def start(settings: ServerSettings, flags: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the server's process, its output in `log`; in a group of its own, so that Ctrl-C reaches us first."""
    from server.launcher import command

    with log.open("wb") as output:
        return subprocess.Popen(
            command(flags),
            env=settings.environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait(server: subprocess.Popen[bytes], settings: ServerSettings, log: Path, console: Console) -> bool:
    """Show the progress of the start until the server answers; False when it ended or took too long."""
    deadline = time.monotonic() + PATIENCE
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(STAGES[0][2], total=1.0)
        while time.monotonic() < deadline and server.poll() is None:
            text = log.read_text(errors="replace")
            _, done, doing = [stage for stage in STAGES if stage[0] in text][-1]
            progress.update(task, completed=done, description=f"Starting the server: {doing}")
            if done == 1.0 and _answers(settings, "/ready"):
                return True
            time.sleep(0.2)
    return False


def ask(settings: ServerSettings, console: Console) -> list[str]:
    """One chat through the official client, a turn about a picture and one about a sound; gives the answers."""
    from openai import OpenAI

    from server.chat import part

    client = OpenAI(base_url=f"http://{settings.host}:{settings.port}/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    messages: list[dict[str, Any]] = []
    answers: list[str] = []
    console.print()
    for name, question in TURNS:
        messages.append({"role": "user", "content": [part(EXAMPLES / name), {"type": "text", "text": question}]})
        console.print(f"[bold]Question[/bold]  {question} [dim](about {(EXAMPLES / name).name})[/dim]")
        reply = client.chat.completions.create(
            model=model,
            messages=messages,  # type: ignore[arg-type]
            max_tokens=48,
            temperature=0,
        )
        answers.append(reply.choices[0].message.content or "")
        messages.append({"role": "assistant", "content": answers[-1]})
        console.print("[bold]Answer[/bold]    ", end="")
        console.print(answers[-1].strip(), markup=False)
    console.print(f"The picture and the sound are in {EXAMPLES}", style="dim", markup=False)
    return answers


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its engine."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(settings: ServerSettings, path: str = "/health") -> bool:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
