"""Whatever a model writes and a file is called stays text; the key stays in its tab and goes to its own server."""

import pytest

from tests.support.browser import CAT, Visit
from tests.support.scripted import Answer, Scripted

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

PROBES = (
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    "<svg onload='window.hit = 1'></svg>",
    "</p></li><iframe srcdoc='<script>parent.hit = 1</script>'></iframe>",
    "[click](javascript:window.hit=1) ![](https://example.com/leak.png)",
    "**<b onmouseover='window.hit = 1'>x</b>**",
    "`<img src=x onerror='window.hit = 1'>`",
    "```html\n<script>window.hit = 1</script>\n```",
    "- <a href='javascript:window.hit=1'>item</a>",
    "<style>* { display: none }</style><base href='https://example.com/'>",
    "{{constructor.constructor('window.hit = 1')()}}",
    "\u202e reversed \u0000 \ufeff",
)


def elements(tab: Visit) -> set[str]:
    """The kinds of elements in the turns."""
    found = tab.page.evaluate("[...document.querySelectorAll('#turns *')].map((one) => one.localName)")
    return set(found)


def test_answers_stay_text(tab: Visit, scripted: Scripted) -> None:
    scripted.answers = [Answer((probe[: len(probe) // 2], probe[len(probe) // 2 :])) for probe in PROBES]
    for _ in PROBES:
        tab.write("Say it")
        tab.send()
    assert tab.page.evaluate("window.hit") is None
    assert elements(tab) <= {
        "li", "h2", "div", "span", "p", "button", "ul", "pre", "code", "strong",
    }  # fmt: skip
    said = tab.page.locator(".turn.assistant .said").all_inner_texts()
    for probe, shown in zip(PROBES[:4], said, strict=False):
        assert shown == probe
    assert "https://example.com/leak.png" in said[4]


def test_names_and_messages_stay_text(tab: Visit, scripted: Scripted) -> None:
    name = "<img src=x onerror='window.hit = 1'>.png"
    tab.drop((name, "text/html", CAT.read_bytes()))
    tab.write(PROBES[0])
    expect(tab.page.locator(".flow .chip .name")).to_have_text(name)
    tab.page.locator(".flow .chip .look").click()
    expect(tab.page.locator("#viewer-facts")).to_contain_text(name)
    tab.page.get_by_role("button", name="Close").click()
    tab.page.locator(".flow .text").last.focus()
    scripted.answers = [Answer((PROBES[1],))]
    tab.send()
    assert tab.page.locator(".turn.user .name").inner_text() == name
    assert tab.page.evaluate("window.hit") is None
    page = {"name": "notes.png", "mimeType": "image/png", "buffer": b"<!DOCTYPE html>" + PROBES[0].encode()}
    tab.page.set_input_files("#files", [page])
    expect(tab.page.locator("#notice")).to_contain_text("notes.png is neither a picture nor a sound")
    assert tab.page.evaluate("window.hit") is None


def test_what_is_no_medium_is_refused_by_name(tab: Visit) -> None:
    tab.page.set_input_files("#files", [{"name": "notes.png", "mimeType": "image/png", "buffer": b"hello, I am text"}])
    expect(tab.page.locator("#notice")).to_have_text("notes.png is neither a picture nor a sound that is known here.")
    expect(tab.page.locator(".flow .chip")).to_have_count(0)


def test_the_browser_refuses_what_the_page_never_does(tab: Visit) -> None:
    """The policy holds: no foreign script or style, no markup from text, no request elsewhere."""
    refused = tab.page.evaluate(
        """async () => {
          const tried = {};
          const attempt = async (name, act) => {
            try { await act(); tried[name] = false; } catch { tried[name] = true; }
          };
          await attempt("markup", () => { document.body.innerHTML = "<p>x</p>"; });
          await attempt("text as code", () => setTimeout("window.hit = 1"));
          await attempt("fetch", () => fetch("https://example.com/"));
          const script = document.createElement("script");
          await attempt("script", () => { script.textContent = "window.hit = 1"; document.body.append(script); });
          return tried;
        }"""
    )
    assert refused == {"markup": True, "text as code": True, "fetch": True, "script": True}
    assert tab.page.evaluate("window.hit") is None
    # What was tried here on purpose.
    assert len(tab.complaints) >= 1
    tab.complaints.clear()
    tab.strangers.clear()


def test_the_key_is_asked_for_and_stays_in_the_tab(tab: Visit, scripted: Scripted) -> None:
    scripted.key = "qk-secret"
    tab.write("Hi")
    tab.page.keyboard.press("Enter")
    field = tab.page.get_by_label("API key", exact=True)
    expect(field).to_be_focused()
    tab.page.keyboard.insert_text("qk-wrong")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#ask-key-reason")).to_have_text("This API key is not known")
    expect(field).to_be_focused()
    tab.page.keyboard.insert_text("qk-secret")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".turn.assistant.done")).to_be_visible()
    assert tab.answer == "Yes."
    assert scripted.keys[-1] == "Bearer qk-secret"
    stored = tab.page.evaluate(
        "[JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}), document.cookie]"
    )
    assert "qk-" not in stored[0] + stored[2]
    assert "qk-secret" in stored[1]
    tab.page.reload()
    expect(tab.page.locator("#model-name")).to_have_text("m")
    assert "qk-secret" not in tab.page.url


def test_a_key_that_is_not_given_leaves_the_page_usable(tab: Visit, scripted: Scripted) -> None:
    scripted.key = "qk-secret"
    tab.write("Hi")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("button", name="Cancel").click()
    expect(tab.page.locator(".turn.assistant .failure")).to_contain_text("This API key is not known")
    expect(tab.page.get_by_role("button", name="Retry")).to_be_enabled()
