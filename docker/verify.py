#!/usr/bin/env python3
"""Builds the image `demo` with buildah, no daemon, and runs it the hard way: no rights, a root that cannot be written.

    python docker/verify.py --stand-in ROOTFS [--storage DIR] [--report FILE]      # where no registry is in reach
    python docker/verify.py --base docker.io/library/python:3.11-slim-bookworm    # where one is
    python docker/verify.py --built --storage DIR                                 # only run what was built before

As root, on Linux, with buildah, util-linux and procps. `ROOTFS` is a folder that takes the place of the base image:

    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm ROOTFS

Packages come from wherever pip is configured to look here: its configuration is passed as a build secret, and the
folders it names are mounted while the image is built; neither is in a layer.

The image then runs in namespaces of its own (mounts, processes, IPC, host name), its root mounted read-only, with /tmp
in memory and one folder at /cache, as its own user, without capabilities and without a way to get any. It must become
ready, answer a question about a picture, finish a stream that runs when SIGTERM comes, refuse what comes later, and
end with 0. What was found is printed, and written to FILE as Markdown.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "server" / "examples" / "cat.png"
TARGET, IMAGE, BASE = "demo", "localhost/quartet:verify", "localhost/quartet-base:stand-in"
START_SECONDS = 900
# Tokens of the stream that runs when SIGTERM comes, and what it is given to finish, seconds.
STREAMED, GRACE = 200, 120
# How buildah keeps layers. The second copies a whole image for each, but works inside containers, too.
DRIVERS = ("overlay", "vfs")
# Settings of pip that say where packages are, and how their places are trusted.
PLACES = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "proxy")


def pip_places() -> dict[str, str]:
    """What the user's pip is configured with, of `PLACES`."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("_", "-")
        if name in PLACES:
            found[name] = str(ast.literal_eval(value))
    return found


def secret_text(places: Mapping[str, str]) -> str:
    """A pip.conf that says the same."""
    return "[global]\n" + "".join(f"{name} = {' '.join(value.split())}\n" for name, value in sorted(places.items()))


def local_folders(places: Mapping[str, str]) -> list[str]:
    """Folders and files of this machine that the configuration names, for mounting."""
    words = " ".join(value for name, value in places.items() if name != "no-index").split()
    # An index that is a folder refers to files beside it.
    paths = [str(Path(word[7:]).parent) if word.startswith("file://") else word for word in words]
    return sorted({path for path in paths if path.startswith("/") and os.path.exists(path)})


class Builder:
    """buildah with a storage of its own, which goes away with the folder."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        for self.driver in DRIVERS:
            self.command = ["buildah", "--root", str(storage / self.driver), "--runroot", str(storage / "run")]
            self.command += ["--storage-driver", self.driver]
            if subprocess.run([*self.command, "info"], env=self.environment, capture_output=True).returncode == 0:
                break

    def __call__(self, *words: str, quiet: bool = False) -> str:
        """Run a command of buildah; returns what it printed.

        Raises:
            SystemExit: it failed.
        """
        done = subprocess.run([*self.command, *words], env=self.environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"buildah {shlex.join(words[:3])} ... failed")
        if not quiet:
            print(done.stdout, end="", flush=True)
        return done.stdout.strip()

    def stand_in(self, rootfs: Path) -> str:
        """An image of a folder, in the place of the base image.

        Made once in a storage that is kept, so that what was built on it is found again.
        """
        known = [*self.command, "inspect", "--type", "image", BASE]
        if subprocess.run(known, env=self.environment, capture_output=True).returncode == 0:
            return BASE
        container = self("from", "scratch", quiet=True)
        self("add", "--quiet", container, f"{rootfs}/", "/", quiet=True)
        self("commit", "--quiet", "--rm", container, BASE, quiet=True)
        return BASE

    def build(self, base: str, pull: bool) -> float:
        """Build the target from `base`; returns seconds."""
        places = pip_places()
        began = time.monotonic()
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as secret:
            secret.write(secret_text(places))
            secret.flush()
            mounts = [word for path in local_folders(places) for word in ("--volume", f"{path}:{path}:ro")]
            words = ["bud", "--pull" if pull else "--pull-never", "--network", "host", "--format", "docker", "--layers"]
            words += ["--secret", f"id=pip,src={secret.name}", *mounts, "--build-arg", f"PYTHON_IMAGE={base}"]
            self(*words, "--target", TARGET, "--tag", IMAGE, "--file", str(ROOT / "docker" / "Dockerfile"), str(ROOT))
        return time.monotonic() - began

    def inspect(self) -> Any:
        """Configuration and history of the image."""
        return json.loads(self("inspect", "--type", "image", IMAGE, quiet=True))

    def layers(self) -> list[tuple[str, int]]:
        """What made each layer, and its size in bytes."""
        known = json.loads((self.storage / self.driver / f"{self.driver}-layers" / "layers.json").read_text())
        sizes = {item.get("diff-digest"): int(item.get("diff-size", 0)) for item in known}
        image = self.inspect()["Docker"]
        steps = [step.get("created_by", "") for step in image["history"] if not step.get("empty_layer")]
        return list(zip(steps, (sizes.get(digest, 0) for digest in image["rootfs"]["diff_ids"]), strict=True))


class Container:
    """One process tree of the image: see the module's docstring for what it may and may not do."""

    def __init__(self, root: Path, config: Mapping[str, Any], folder: Path, port: int) -> None:
        self.root, self.config, self.port = root, config, port
        self.cache, self.log = folder / "cache", folder / "log"
        self.user, _, self.group = str(config["User"]).partition(":")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, words: list[str]) -> list[str]:
        """The words that run `words` inside, as the image's user."""
        root, view = shlex.quote(str(self.root)), shlex.quote(str(self.root) + ".view")
        rights = f"--reuid {self.user} --regid {self.group} --clear-groups --no-new-privs "
        rights += "--inh-caps=-all --bounding-set=-all"
        environment = shlex.join(["env", "-i", *self.config["Env"]])
        script = [
            "set -e",
            f"mkdir -p {view}",
            f"mount --bind {root} {view}",
            f"mount -t tmpfs -o mode=1777,size=2g tmpfs {view}/tmp",
            f"mount --bind {shlex.quote(str(self.cache))} {view}/cache",
            f"mount -t proc proc {view}/proc",
            # The engine asks it for processors.
            f"mount --rbind /sys {view}/sys",
            f"mount -o remount,bind,ro {view}/sys",
            f"mount --rbind /dev {view}/dev",
            f"mount -t tmpfs -o mode=1777,size=1g tmpfs {view}/dev/shm",
            f"mount -o remount,bind,ro {view}",
            f"cd {view}",
            # The change of root needs a right, so rights are given up inside.
            f"exec chroot {view} setpriv {rights} {environment} {shlex.join(words)}",
        ]
        return [
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            "\n".join(script),
        ]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of its own, to its end."""
        return subprocess.run(self.command(list(words)), capture_output=True, text=True, check=False, timeout=300)

    def start(self) -> None:
        """Start what the image starts, on another port."""
        self.cache.mkdir(mode=0o775)
        os.chown(self.cache, int(self.user), int(self.group))
        words = [
            *self.config["Entrypoint"],
            *self.config["Cmd"],
            "--port",
            str(self.port),
            "--grace-seconds",
            str(GRACE),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command(words), stdout=log, stderr=subprocess.STDOUT)

    def first_process(self) -> int:
        """The id, out here, of the process that is 1 in there."""
        assert self.process is not None
        listing = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], check=True, capture_output=True, text=True
        ).stdout
        return int(listing.split()[0])

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request: status and body; status 0 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json"}
            connection.request("GET" if body is None else "POST", path, text, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def wait_ready(self) -> float:
        """Seconds until `/ready` says 200.

        Raises:
            SystemExit: the server ended, or took too long.
        """
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS:
            assert self.process is not None
            if self.process.poll() is not None:
                raise SystemExit(f"the container ended with {self.process.returncode}:\n{self.tail()}")
            if self.ask("/ready")[0] == 200:
                return time.monotonic() - began
            time.sleep(0.5)
        raise SystemExit(f"not ready after {START_SECONDS} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-30_000:]


def question(**more: Any) -> dict[str, Any]:
    """A chat about the example picture."""
    url = "data:image/png;base64," + base64.b64encode(PICTURE.read_bytes()).decode()
    content = [{"type": "text", "text": "What is in the picture? "}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": TARGET, "messages": [{"role": "user", "content": content}], "temperature": 0, **more}


def check(found: dict[str, str], what: str, holds: bool, detail: str) -> None:
    """Note a fact.

    Raises:
        SystemExit: it is not as it must be.
    """
    found[what] = detail
    print(f"{'ok  ' if holds else 'FAIL'} {what}: {detail}", flush=True)
    if not holds:
        raise SystemExit(1)


def examine(container: Container, found: dict[str, str]) -> None:
    """Everything that the module's docstring promises of the running image."""
    check(found, "ready", True, f"/ready turned 200 after {container.wait_ready():.0f} s")
    status = Path(f"/proc/{container.first_process()}/status").read_text()
    facts = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
    user, rights = facts["Uid"], facts["CapEff"] + facts["CapBnd"]
    check(
        found,
        "user",
        set(user) == {"2000"},
        f"uid {user[0]}, gid {facts['Gid'][0]}, NoNewPrivs {facts['NoNewPrivs'][0]}",
    )
    check(found, "capabilities", set(rights) == {"0" * 16}, f"effective and bounding {rights[0]}")
    wrote = container.run("python3", "-c", "open('/app/x', 'w')")
    refusal = wrote.stderr.strip().splitlines()[-1] if wrote.stderr else "written!"
    check(found, "root file system", "Read-only file system" in refusal, refusal)
    health = container.config["Healthcheck"]["Test"]
    words = [word.replace(":8000", f":{container.port}") for word in health[1:]]
    check(found, "HEALTHCHECK", container.run(*words).returncode == 0, "its command, run inside, ends with 0")
    status_code, body = container.ask("/v1/chat/completions", question(max_tokens=32))
    answer = json.loads(body)["choices"][0]["message"]["content"] if status_code == 200 else body.decode()[:200]
    check(found, "a picture of a cat", status_code == 200 and "cat" in answer.lower(), repr(answer))


def end(container: Container, found: dict[str, str]) -> None:
    """SIGTERM in the middle of a stream: it finishes, nothing new begins, and the status is 0."""
    assert container.process is not None
    body = question(max_tokens=STREAMED, stream=True, ignore_eos=True)
    connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=300)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    lines = [response.readline()]
    rest: list[bytes] = []
    reader = threading.Thread(target=lambda: rest.extend(response.read().splitlines(keepends=True)))
    reader.start()
    os.kill(container.first_process(), signal.SIGTERM)
    began = time.monotonic()
    late, said = 200, b""
    while late == 200 and reader.is_alive():  # the signal may not have been seen yet
        late, said = container.ask("/v1/chat/completions", question(max_tokens=1))
    check(found, "a request after SIGTERM", late == 503, f"{late} {said.decode()[:160]}")
    reader.join()
    lines += rest
    events = [line for line in lines if line.startswith(b"data: ")]
    whole = events[-1].strip() == b"data: [DONE]" and not any(b'"error"' in event for event in events)
    enough = whole and len(events) > STREAMED / 2
    check(found, "the stream that ran", enough, f"{len(events)} events, last {events[-1].strip()!r}")
    status = container.process.wait(120)
    check(found, "exit status", status == 0, f"{status}, {time.monotonic() - began:.1f} s after SIGTERM")


@contextlib.contextmanager
def storage(chosen: Path | None) -> Iterator[Path]:
    """Where images are kept: a folder of the user's, or one that goes away."""
    if chosen:
        chosen.mkdir(parents=True, exist_ok=True)
        yield chosen
    else:
        with tempfile.TemporaryDirectory(prefix="quartet-images-") as folder:
            yield Path(folder)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def report(found: Mapping[str, str], layers: list[tuple[str, int]]) -> str:
    """What was found, as Markdown."""
    lines = ["| checked | found |", "|---|---|"]
    lines += [f"| {what} | {detail.replace('|', chr(92) + '|')} |" for what, detail in found.items()]
    lines += ["", "| layer | MB |", "|---|---|"]
    for step, size in layers:
        words = " ".join(step.removeprefix("/bin/sh -c ").replace("#(nop)", "").split())
        lines.append(f"| `{words[:90].replace('|', chr(92) + '|')}` | {size / 1e6:.0f} |")
    lines.append(f"| all | {sum(size for _, size in layers) / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="build the image `demo` and run it without rights")
    base = parser.add_mutually_exclusive_group(required=True)
    base.add_argument("--stand-in", type=Path, help="folder that takes the place of the base image")
    base.add_argument("--base", help="base image, pulled from its registry")
    base.add_argument("--built", action="store_true", help="run what --storage holds, without building it again")
    parser.add_argument("--storage", type=Path, help="folder for images, kept; by default a temporary one")
    parser.add_argument("--report", type=Path, help="file for what was found")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("docker/verify.py mounts file systems: run it as root")
    if options.stand_in and not (options.stand_in / "bin" / "sh").exists():
        raise SystemExit(f"{options.stand_in} is no root file system: it has no bin/sh")
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is missing; install it: apt-get install buildah")
    with storage(options.storage) as place, tempfile.TemporaryDirectory(prefix="quartet-run-") as scratch:
        builder = Builder(place)
        found: dict[str, str] = {}
        if not options.built:
            name = builder.stand_in(options.stand_in) if options.stand_in else options.base
            check(found, "build", True, f"on {name}, {builder.build(name, pull=not options.stand_in):.0f} s")
        config = builder.inspect()["Docker"]["config"]
        root = builder("from", "--pull-never", IMAGE, quiet=True)
        os.chmod(scratch, 0o755)
        container = Container(Path(builder("mount", root, quiet=True)), config, Path(scratch), free_port())
        try:
            container.start()
            examine(container, found)
            end(container, found)
        except BaseException:
            if container.log.exists():
                print(container.tail(), file=sys.stderr)
            raise
        finally:
            if container.process is not None and container.process.poll() is None:
                container.process.kill()
                container.process.wait()
            text = report(found, builder.layers())
            builder("rm", root, quiet=True)
        print(text)
        if options.report:
            options.report.write_text(text)


if __name__ == "__main__":
    main()
