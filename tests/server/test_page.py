"""The playground's page is one document that its own policy allows, and mistakes in its sources are found."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from server.page import STATIC, PageError, assemble, page


def hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy() -> dict[str, str]:
    return {name: value for name, _, value in (one.partition(" ") for one in page().policy.split("; "))}


def test_the_policy_names_this_script_and_this_style_and_nothing_else() -> None:
    text = page().body.decode()
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    rules = policy()
    assert rules["script-src"] == hashed(script)
    assert rules["style-src"] == hashed(style)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert not {"unsafe-inline", "unsafe-eval", "*", "http"} & set(re.findall(r"[\w*-]+", page().policy))


def test_the_page_asks_for_nothing_else_and_holds_no_handler() -> None:
    text = page().body.decode()
    markup = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.S)
    assert re.findall(r"\b(?:src|href)=\"(?!data:|#)[^\"]*\"", markup) == []
    assert re.findall(r"\s(?:on\w+|style)=", markup) == []
    assert re.findall(r"@import|url\(", "".join(re.findall(r"<style>(.*?)</style>", text, re.S))) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == []
    addresses = set(re.findall(r"https?://[\w.]+", text))
    assert addresses == {"http://www.w3.org"}, "names of SVG, never asked for"


def test_every_source_is_used_and_short() -> None:
    text = page().body.decode()
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        content = path.read_text()
        assert content.count("\n") < 400, path.name
        if path.suffix in (".js", ".css"):
            assert content.rstrip().splitlines()[-1] in text, path.name
            assert content.startswith(("//", "/*")), f"{path.name} must say what it is"


def test_the_tag_follows_the_content() -> None:
    assert page().etag == f'"{hashlib.sha256(page().body).hexdigest()[:32]}"'
    assert page() is page()
    assert assemble(STATIC) == page()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "css").mkdir()
    (tmp_path / "js").mkdir()
    for path in (STATIC / "css").iterdir():
        (tmp_path / "css" / path.name).write_text("a {}\n")
    (tmp_path / "index.html").write_text("<style>/* style */</style><script>/* script */</script>")
    return tmp_path


def write(sources: Path, **modules: str) -> None:
    for name, text in modules.items():
        (sources / "js" / f"{name}.js").write_text(text)


def test_modules_come_after_what_they_import_each_once(sources: Path) -> None:
    write(
        sources,
        main='import { b } from "./b.js";\nimport {\n  a,\n  c,\n} from "./a.js";\nb(a);\n',
        b='import { a } from "./a.js";\nexport function b() {}\n',
        a="export const a = 1;\nexport async function c() {}\n",
    )
    script = re.findall(rb"<script>(.*)</script>", assemble(sources).body, re.S)[0].decode()
    assert script.split("\n") == ["const a = 1;", "async function c() {}", "", "function b() {}", "", "b(a);", ""]


@pytest.mark.parametrize(
    ("modules", "problem"),
    [
        ({"main": 'import { a } from "./a.js";\n'}, "main.js imports a.js, which does not exist"),
        (
            {"main": 'import { a } from "./a.js";\n', "a": 'import { m } from "./main.js";\n'},
            "main imports a imports main",
        ),
        ({"main": "export default 1;\n"}, "'export default 1;'"),
        ({"main": 'import a from "./a.js";\n', "a": ""}, "a form of import or export"),
        (
            {"main": 'import { a } from "./a.js";\nconst b = 1;\n', "a": "export const a = 1;\nlet b = 2;\n"},
            "b: declared",
        ),
        ({"main": 'const a = "</script>";\n'}, "end it early"),
    ],
)
def test_mistakes(sources: Path, modules: dict[str, str], problem: str) -> None:
    write(sources, **modules)
    with pytest.raises(PageError, match=re.escape(problem)):
        assemble(sources)


def test_a_page_without_its_marks(sources: Path) -> None:
    write(sources, main="")
    (sources / "index.html").write_text("<style>/* style */</style>")
    with pytest.raises(PageError, match="script"):
        assemble(sources)
