"""Runs the commands of deployment that documents show, as far as that goes without a daemon and without a cluster.

`helm install` and `helm upgrade` render what they would install; `docker compose up` resolves the file, finds profile
and service; `docker build` finds file and target; the verifier of images understands its command line. What is left
(`helm test`, `kubectl`) must name what those made.
"""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from tests.docker.composed import config, source
from tests.docs.markdown import ROOT
from tests.helm.charts import helm, secrets_of

PROGRAMS = frozenset({"docker", "helm", "kubectl", "debootstrap", "python"})
VERIFY = "docker/verify.py"


@dataclass
class Deployment:
    """What the commands of one document have made so far."""

    releases: set[str] = field(default_factory=set)
    secrets: dict[str, set[str]] = field(default_factory=dict)
    root: str = ""

    def run(self, words: list[str]) -> None:
        """Run one command."""
        assert words[0] in PROGRAMS
        getattr(self, words[0])(words[1:])

    def docker(self, words: list[str]) -> None:
        if words[0] == "build":
            file, target = (words[words.index(flag) + 1] for flag in ("-f", "--target"))
            assert re.search(rf"^FROM \S+ AS {target}$", (ROOT / file).read_text(), re.M), target
            assert words[-1] == "."
            return
        assert words[:3] == ["compose", "-f", "docker/compose.yaml"], words
        rest = words[3:]
        profiles = [rest[index + 1] for index, word in enumerate(rest) if word == "--profile"]
        asked = [word for word in rest[rest.index("up") + 1 :] if not word.startswith("--")]
        services = source()["services"]
        assert set(asked) <= services.keys(), asked
        assert set(profiles) <= {name for service in services.values() for name in service.get("profiles", [])}
        for name in asked:
            profiles += services[name].get("profiles", [])
        resolved: dict[str, Any] = config(*profiles)["services"]
        assert set(asked) <= resolved.keys()

    def helm(self, words: list[str]) -> None:
        action, release = words[:2]
        if action in ("install", "upgrade"):
            flags = [word for word in words[2:] if word not in ("--create-namespace", "--reuse-values")]
            done = helm("helm-4", "template", release, *flags)
            assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
            self.releases.add(release)
            for name, key in secrets_of(done.stdout):
                assert key in self.secrets.get(name, set()), f"the Secret {name} with {key} was not made before"
        else:
            assert action in ("test", "rollback", "get"), words
            assert self.releases & set(words), words

    def kubectl(self, words: list[str]) -> None:
        if "secret" in words:
            name = words[words.index("generic") + 1]
            given = re.findall(r"--from-(literal|file)=([^= ]+)", shlex.join(words).replace("'", ""))
            assert given, words
            self.secrets.setdefault(name, set()).update(key for _, key in given)
        else:
            assert "namespace" in words, words

    def debootstrap(self, words: list[str]) -> None:
        # As the program that needs its result says.
        said = " ".join((ROOT / VERIFY).read_text().split())
        assert shlex.join(words[:-1]) in said, words
        self.root = words[-1]

    def python(self, words: list[str]) -> None:
        """Only refused because there is no such folder, which comes after the command line was understood."""
        assert words[:3] == [VERIFY, "--stand-in", self.root], words
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.strip() in (
            f"{self.root} is no root file system: it has no bin/sh",
            f"{VERIFY} mounts file systems: run it as root",
        )
