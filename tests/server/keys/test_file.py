"""The file of keys and the command that keeps it."""

import json
from pathlib import Path

import pytest

from model.cli import main
from model.errors import ConfigurationError
from server.keys.file import add, parse, read, revoke
from server.keys.key import Key, hashed, new_secret

SECRETS = {name: f"qk-{name}-{'x' * 40}" for name in ("alice", "bob", "carol")}


def key(name: str, **more: object) -> Key:
    return Key(name=name, hash=hashed(SECRETS.get(name, name * 30)), **more)


@pytest.mark.parametrize("start", ["", "# whose keys these are\n", "{}"])
def test_what_is_added_is_read(tmp_path: Path, start: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(start)
    wanted = (key("alice"), key("bob", role="admin", models=("a", "b"), requests_per_minute=5), key("carol"))
    for one in wanted:
        add(path, one)
    assert read(path) == wanted
    assert path.read_text().startswith(start[:1])
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in SECRETS.values():
        assert secret not in path.read_text()
    revoke(path, "bob")
    assert read(path) == (wanted[0], wanted[2])


def test_comments_survive(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    lines = [f"# about {name}\n{name}:\n  hash: {hashed(secret)}\n" for name, secret in SECRETS.items()]
    path.write_text("".join(lines))
    revoke(path, "bob")
    assert path.read_text() == lines[0] + "# about bob\n" + lines[2]
    revoke(path, "carol")
    revoke(path, "alice")
    assert read(path) == ()


HASH = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- alice", "expected a mapping"),
        (f"alice:\n  hash: {HASH}\nalice:\n  hash: {HASH}", "f:3: alice: given twice"),
        (f"alice:\n  hash: {HASH}\nbob:\n  hash: {HASH}", "f:3: bob: the same secret as alice"),
        ("alice: secret", "f:1: alice: expected `hash: sha256:...`"),
        ("alice:\n  hash: secret", "alice: hash: "),
        (f"alice:\n  hash: {HASH}\n  rol: admin", "('rol',)"),
        (f"alice:\n  hash: {HASH}\n  role: root", "role: "),
        (f"alice:\n  hash: {HASH}\n  models: m", "expected a list of model ids"),
        (f"alice:\n  hash: {HASH}\n  requests_per_minute: 0", "requests_per_minute: "),
        (f"alice:\n  hash: {HASH}\n  requests_per_minute: true", "requests_per_minute: "),
        (f"al ice:\n  hash: {HASH}", "must match"),
        (f"alice:\n  1: {HASH}", "must have names"),
        ("alice: [", "f:1: not YAML"),
        ("[" * 5000, "not YAML"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "f")
    assert problem in str(refused.value)
    assert "secret" not in str(refused.value).replace("the same secret", "")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.yaml"

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(["keys", arguments[0], "--file", str(path), *arguments[1:]])
        assert not left.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    secret = run("new", "alice", "--requests-per-minute", "60", "--model", "demo").strip()
    admin = run("new", "root", "--admin").strip()
    assert [one.hash for one in read(path)] == [hashed(secret), hashed(admin)]
    assert run("list") == "alice  user  models=demo requests_per_minute=60\nroot  admin\n"
    assert secret not in path.read_text()
    assert run("revoke", "alice") == "revoked alice\n"
    assert run("list") == "root  admin\n"
    for wrong, problem in ((("new", "root"), "there is a key named root"), (("revoke", "x"), "known are root")):
        with pytest.raises(SystemExit) as left:
            main(["keys", wrong[0], "--file", str(path), wrong[1]])
        assert left.value.code == 1
        assert problem in capsys.readouterr().err


def test_json_stays_json(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"alice": {"hash": hashed(SECRETS["alice"])}}))
    add(path, key("bob"))
    assert list(json.loads(path.read_text())) == ["alice", "bob"]


def test_secrets_are_long_and_different() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == 46 for secret in made)
