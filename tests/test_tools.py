"""The installer must ask the same places as the user's pip, and the lock must accept torch's CPU build everywhere."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives a function that imports a file of tools/ by name."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    return lambda name: __import__(name)


def test_pip_settings_are_read_in_pips_order(tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://a.example/simple\ntimeout = 9\n[install]\nindex-url = https://b.example/simple\n"
        "extra-index-url =\n    https://c.example/simple\n    https://d.example/simple\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    pip_settings = tools("pip_settings")
    settings = pip_settings.read_pip_settings(Path(sys.executable))
    assert settings["index-url"] == "https://b.example/simple"
    assert settings["extra-index-url"].split() == ["https://c.example/simple", "https://d.example/simple"]
    assert settings["find-links"] == "/wheels"


def test_settings_are_translated_or_left_to_pip(tools: Any) -> None:
    translate = tools("pip_settings").uv_settings
    assert translate({"index-url": "https://a/simple", "find-links": "/x /y", "cert": "/ca.pem", "timeout": "9"}) == (
        [
            "--default-index=https://a/simple",
            "--find-links=/x",
            "--find-links=/y",
            "--index-strategy=unsafe-best-match",
        ],
        {"SSL_CERT_FILE": "/ca.pem"},
    )
    assert translate({"no-index": "1"})[0][0] == "--no-index"
    assert translate({"no-index": "false"})[0] == ["--index-strategy=unsafe-best-match"]
    assert translate({"proxy": "http://proxy"}) is None
    assert translate({"client-cert": "/me.pem"}) is None


def test_the_lock_takes_all_published_builds_of_torch(tools: Any) -> None:
    lock = tools("lock")
    published = [line.split()[0] for line in lock.TORCH_HASHES.read_text().splitlines()]
    pin = (
        f"a==1 \\\n    --hash=sha256:{'0' * 64}\n"
        f"torch==2.13.0+cpu ; x == 'y' \\\n    --hash=sha256:{published[1]}\n    # via\n"
    )
    filled = lock.with_torch_hashes(pin)
    assert all(f"--hash=sha256:{value}" in filled for value in published)
    assert filled.startswith(pin[:90])
    assert filled.endswith("\n    # via\n")
    with pytest.raises(SystemExit, match="does not fit torch"):
        lock.with_torch_hashes(pin.replace(published[1], "1" * 64))


def test_the_pin_of_one_package_is_found(tools: Any) -> None:
    install = tools("install")
    pinned = install.requirement(ROOT / "requirements" / "cpu.lock", "torch")
    assert "torch==2.13.0+cpu" in pinned
    assert pinned.count("--hash=sha256:") >= 8
    assert "torch-" not in pinned
