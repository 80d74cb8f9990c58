"""Puts the playground together: `static/` -> one HTML document that needs nothing else, and the headers that guard it.

The sources are plain files that editors and linters understand: `index.html` with two marks, style sheets, and
JavaScript modules. Here the modules are joined in the order of their imports into one module, so that the page is a
single answer. Its policy allows exactly this script and this style, named by their hashes, and connections to the
server it came from; nothing else can run or leave, whatever a model writes or a file is called.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from model.errors import QuartetError

STATIC = Path(__file__).resolve().parent / "static"
STYLES = ("base", "page", "conversation", "composer", "dialogs")
ENTRY = "main"
STYLE_MARK, SCRIPT_MARK = "/* style */", "/* script */"
# The two forms that the sources use: names from a file beside it, and a declaration that others may import.
_IMPORT = re.compile(r'^import \{[^}]+\} from "\./([a-z_]+)\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?function\*? |const |class )", re.M)
_DECLARED = re.compile(r"^(?:(?:async )?function\*?|const|let|class) (\w+)", re.M)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.M)


class PageError(QuartetError):
    """The sources of the page cannot be joined; a mistake of ours, found by the tests."""

    code = "page_broken"


@dataclass(frozen=True)
class Page:
    """The document and what is sent with it."""

    body: bytes
    etag: str
    """Of the body, in quotes; it changes with every change of the page."""
    policy: str
    """Content-Security-Policy."""

    @property
    def headers(self) -> dict[str, str]:
        """Of every answer with this page, also of 304."""
        return {
            # Kept, but asked for again each time: an upgraded server must not meet a page of the old one.
            "cache-control": "no-cache",
            "etag": self.etag,
            "content-security-policy": self.policy,
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "microphone=(self), camera=(), geolocation=(), display-capture=()",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
        }


@lru_cache(maxsize=1)
def page() -> Page:
    """The playground."""
    return assemble(STATIC)


def assemble(static: Path) -> Page:
    """The page whose sources are in `static`.

    Raises:
        PageError: a module imports one that does not exist, imports in a circle, or in a form that is not joined.
    """
    style = "\n".join((static / "css" / f"{name}.css").read_text("utf-8") for name in STYLES)
    script = "\n".join(_modules(static / "js", ENTRY, (), set()))
    names = _DECLARED.findall(script)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PageError(f"{', '.join(twice)}: declared by more than one module; joined, they share one scope")
    document = (static / "index.html").read_text("utf-8")
    for mark, text in ((STYLE_MARK, style), (SCRIPT_MARK, script)):
        if document.count(mark) != 1:
            raise PageError(f"index.html must hold {mark} once")
        if re.search(r"</(?:style|script)|<!--", text, re.I):
            raise PageError("a style sheet or module holds a mark that would end it early")
        document = document.replace(mark, text)
    body = document.encode()
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "blob: data:",
        "media-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        # No string becomes markup or code: the browser refuses what the page never does.
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return Page(
        body=body,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
    )


def _modules(folder: Path, name: str, path: tuple[str, ...], done: set[str]) -> Iterator[str]:
    """The text of a module after those it imports, each once, without imports and exports."""
    if name in path:
        raise PageError(f"{' imports '.join([*path, name])}: modules that import each other cannot be joined")
    if name in done:
        return
    done.add(name)
    file = folder / f"{name}.js"
    if not file.is_file():
        raise PageError(f"{path[-1]}.js imports {name}.js, which does not exist" if path else f"there is no {name}.js")
    text = file.read_text("utf-8")
    for wanted in _IMPORT.findall(text):
        yield from _modules(folder, wanted, (*path, name), done)
    text = _EXPORT.sub("", _IMPORT.sub("", text))
    if left := _LEFT.search(text):
        raise PageError(f"{name}.js: {left[0][:60]!r} is a form of import or export that is not joined")
    yield text


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
