"""How the page is used: by keyboard alone, in the dark, on a phone, with a microphone, and by assistive technology."""

import io
import json
import wave
import zipfile
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.browser import CAT, SEVEN, Visit, visit
from tests.support.scripted import Answer, Scripted
from training.data import inspect_sample

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def focused(tab: Visit) -> str:
    """The name of what has the focus."""
    return str(
        tab.page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText")
    )


def test_by_keyboard_alone(tab: Visit, scripted: Scripted) -> None:
    """Write, reach a medium from the text, move it, remove another, send, edit again, settings: no pointer."""
    press = tab.page.keyboard.press
    assert focused(tab) == "Message"
    tab.write("one")
    press("Shift+Enter")
    tab.write("two")
    tab.choose(CAT)
    tab.choose(SEVEN)
    press("ArrowLeft")
    assert focused(tab) == "Play seven.wav"
    press("Alt+ArrowLeft")
    press("Alt+ArrowLeft")
    assert focused(tab) == "Play seven.wav"
    press("ArrowRight")
    assert focused(tab) == "Text after seven.wav"
    press("End")
    press("Control+End")
    tab.page.locator(".flow .text").last.focus()
    press("Backspace")
    assert focused(tab) == "Show cat.png"
    press("Backspace")
    expect(tab.page.locator(".flow .chip")).to_have_count(1)
    press("Enter")
    expect(tab.page.locator(".turn.assistant.done")).to_be_visible()
    sent = scripted.asked[0]["messages"][0]["content"]
    assert [part.get("text", part["type"]) for part in sent] == ["input_audio", "one\ntwo"]
    assert focused(tab) == "Message"
    expect(tab.page.locator("#announcer")).to_have_text("Answer: Yes.")
    press("ArrowUp")
    expect(tab.page.locator(".turn")).to_have_count(0)
    expect(tab.page.locator(".flow .chip")).to_have_count(1)
    reached = []
    for _ in range(12):
        press("Tab")
        reached.append(focused(tab))
    assert {"Add pictures or sounds", "Record a sound", "Send"} <= set(reached)
    tab.page.get_by_role("button", name="Settings").focus()
    press("Enter")
    expect(tab.page.get_by_role("dialog", name="Settings")).to_be_visible()
    press("Escape")
    expect(tab.page.get_by_role("dialog", name="Settings")).to_be_hidden()


def test_a_recording_becomes_a_wav(tab: Visit, scripted: Scripted) -> None:
    tab.write("Hear ")
    tab.page.get_by_role("button", name="Record a sound").click()
    tab.page.wait_for_timeout(1500)
    expect(tab.page.locator("#recording-time")).not_to_have_text("0.0 s")
    tab.page.get_by_role("button", name="Done").click()
    expect(tab.page.get_by_role("group", name="Sound recording.wav")).to_be_visible()
    tab.page.locator(".flow .text").last.focus()
    tab.send()
    (_, sound) = scripted.asked[0]["messages"][0]["content"]
    assert sound["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(b64decode(sound["input_audio"]["data"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 48_000)
        assert file.getnframes() > 0.5 * file.getframerate()
        frames = file.readframes(file.getnframes())
    assert max(frames) > 0, "the fake microphone plays a voice"


def test_a_recording_can_be_discarded(tab: Visit) -> None:
    tab.page.get_by_role("button", name="Record a sound").click()
    expect(tab.page.locator("#recording")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#recording")).to_be_hidden()
    expect(tab.page.locator(".flow .chip")).to_have_count(0)


def test_formats_the_server_does_not_read_are_converted(tab: Visit, scripted: Scripted) -> None:
    """WebP here, as the scripted server reads PNG and JPEG; and a FLAC, as it reads WAV and OGG."""
    import numpy as np
    import soundfile

    picture, sound = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 30)).save(picture, "WEBP", lossless=True)
    soundfile.write(sound, np.sin(np.arange(8000) / 5) / 2, 16_000, format="FLAC")
    tab.drop(("a.webp", "", picture.getvalue()), ("b.flac", "", sound.getvalue()))
    tab.page.locator(".flow .text").last.focus()
    tab.send()
    image, audio = scripted.asked[0]["messages"][0]["content"]
    kind, _, data = image["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(b64decode(data))).convert("RGB").getpixel((3, 3)) == (200, 30, 30)
    with wave.open(io.BytesIO(b64decode(audio["input_audio"]["data"]))) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(0.5, abs=0.01)


def test_settings_are_kept_and_sent(tab: Visit, scripted: Scripted) -> None:
    tab.page.get_by_role("button", name="Settings").click()
    dialog = tab.page.get_by_role("dialog", name="Settings")
    dialog.get_by_label("Model").select_option("m-other")
    for label, value in (("Temperature", "0.5"), ("Top p", "0.9"), ("Longest answer", "7"), ("Seed", "3")):
        dialog.get_by_label(label).fill(value)
    dialog.get_by_role("button", name="Done").click()
    tab.page.reload()
    expect(tab.page.locator("#model-name")).to_have_text("m-other")
    tab.write("Hi")
    tab.send()
    body = scripted.asked[0]
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")} == {
        "model": "m-other", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3,
    }  # fmt: skip
    tab.page.get_by_role("button", name="Settings").click()
    dialog.get_by_role("button", name="Reset").click()
    expect(dialog.get_by_label("Seed")).to_have_value("")


def test_a_conversation_is_exported_as_training_data_and_comes_back(
    tab: Visit, scripted: Scripted, tmp_path: Path
) -> None:
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.get_by_label("System message").fill("Be brief.")
    tab.page.get_by_role("button", name="Done").click()
    tab.page.locator(".text").focus()
    tab.write("Look ")
    tab.choose(CAT)
    tab.write(" and hear ")
    tab.choose(SEVEN)
    tab.send()
    tab.write("And again?")
    tab.choose(CAT)
    tab.send()
    before = scripted.asked[1]["messages"]
    tab.page.get_by_role("button", name="Copy, export, import").click()
    with tab.page.expect_download() as waiting:
        tab.page.get_by_role("button", name="Export the conversation").click()
    archive = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(archive)
    with zipfile.ZipFile(archive) as files:
        assert files.testzip() is None
        assert sorted(files.namelist()) == [
            f"conversation/{name}" for name in ("media/1.png", "media/2.wav", "train.jsonl")
        ]
        files.extractall(tmp_path)
    folder = tmp_path / "conversation"
    assert (folder / "media/1.png").read_bytes() == CAT.read_bytes()
    (line,) = (folder / "train.jsonl").read_text().splitlines()
    sample, errors = inspect_sample(json.loads(line), folder)
    assert errors == []
    assert sample is not None
    assert [reference.modality for reference in sample.media] == ["image", "audio", "image"]

    tab.page.get_by_role("button", name="New conversation").click()
    # Unpacked and packed again by another program, with compression.
    packed = tmp_path / "again.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as files:
        for path in sorted(folder.rglob("*.*")):
            files.write(path, path.relative_to(tmp_path))
    tab.page.set_input_files("#import-files", packed)
    expect(tab.page.locator(".turn")).to_have_count(4)
    tab.page.locator(".text").focus()
    tab.write("Third")
    tab.send()
    assert scripted.asked[2]["messages"][:-2] == before
    tab.page.get_by_role("button", name="New conversation").click()
    chosen: list[str | Path] = [folder / "train.jsonl", folder / "media/1.png", folder / "media/2.wav"]
    tab.page.set_input_files("#import-files", chosen)
    expect(tab.page.locator(".turn")).to_have_count(4)
    tab.page.set_input_files("#import-files", folder / "train.jsonl")
    expect(tab.page.locator("#notice")).to_have_text("media/1.png is missing: choose it together with the .jsonl file.")


@pytest.mark.parametrize("broken", ["no json", "[]", '{"messages": [{"role": "assistant", "content": "a"}]}', ""])
def test_what_is_no_conversation_is_not_imported(tab: Visit, broken: str) -> None:
    tab.write("mine")
    tab.page.set_input_files("#import-files", [{"name": "a.jsonl", "mimeType": "", "buffer": broken.encode()}])
    expect(tab.page.locator("#notice")).to_contain_text("a.jsonl: ")
    assert tab.page.locator(".text").input_value() == "mine"


def luminance(tab: Visit) -> float:
    """Of the ground of the page, 0 to 255."""
    red, green, blue = tab.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_light_and_dark(chrome: "Browser", scripted: Scripted) -> None:
    """As the system says, unless the user says otherwise; remembered."""
    with visit(chrome, scripted.url, color_scheme="dark") as tab:
        tab.open()
        assert luminance(tab) < 40
        tab.page.locator("#theme").click()
        assert luminance(tab) > 220
        tab.page.reload()
        assert luminance(tab) > 220
        assert focused_label(tab) == "Colours: light"


def focused_label(tab: Visit) -> str | None:
    return tab.page.locator("#theme").get_attribute("aria-label")


LONG = "unbreakable" * 30 + "\n```\n" + "x = 1; " * 60 + "\n```\n"


def test_a_phone(chrome: "Browser", scripted: Scripted) -> None:
    """At 360 pixels nothing is wider than the screen, whatever is in the conversation."""
    scripted.answers = [Answer((LONG,))]
    options: dict[str, Any] = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with visit(chrome, scripted.url, **options) as tab:
        tab.page.set_viewport_size({"width": 360, "height": 640})
        tab.open()
        tab.write(LONG)
        tab.drop(("a very long name of a picture that nobody would choose.png", "", CAT.read_bytes()))
        tab.choose(SEVEN, CAT)
        wide = "document.documentElement.scrollWidth"
        assert tab.page.evaluate(wide) == 360
        tab.page.locator(".flow .text").last.focus()
        tab.send()
        assert tab.page.evaluate(wide) == 360
        beyond = tab.page.evaluate(
            """[...document.querySelectorAll("header *, .turn > *, .chip, .composer *")]
               .filter((one) => one.getClientRects().length && !one.closest("svg, .unseen") && !one.matches(".unseen"))
               .filter((one) => one.getBoundingClientRect().right > 361 || one.getBoundingClientRect().left < -1)
               .map((one) => one.className || one.localName)"""
        )
        assert beyond == []
        tab.page.get_by_role("button", name="Settings").tap()
        assert tab.page.evaluate(wide) == 360
        expect(tab.page.get_by_role("button", name="Done")).to_be_in_viewport()


def test_less_motion(chrome: "Browser", scripted: Scripted) -> None:
    with visit(chrome, scripted.url, reduced_motion="reduce") as tab:
        tab.open()
        running = tab.page.evaluate("document.getAnimations().length")
        tab.page.get_by_role("button", name="Record a sound").click()
        expect(tab.page.locator("#recording")).to_be_visible()
        assert running == tab.page.evaluate("document.getAnimations().length") == 0
        tab.page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_rules(chrome: "Browser", scripted: Scripted, scheme: str) -> None:
    """axe-core finds nothing: names, roles, contrast (AA) and order, in every state of the page."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    rules = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    scripted.answers = [Answer(("Words, `code` and\n```\na block\n```\n- one\n- two",)), Answer((), _refused())]
    with visit(chrome, scripted.url, color_scheme=scheme) as tab:
        tab.open()
        tab.page.evaluate(rules)
        found = {"empty": problems(tab)}
        tab.write("Look ")
        tab.choose(CAT, SEVEN)
        expect(tab.page.locator("#count")).not_to_be_empty()
        found["writing"] = problems(tab)
        tab.page.locator(".flow .text").last.focus()
        tab.send()
        tab.choose(SEVEN)
        tab.page.locator(".flow .text").last.focus()
        tab.send()
        found["failed"] = problems(tab)
        tab.page.get_by_role("button", name="Copy, export, import").click()
        found["menu"] = problems(tab)
        tab.page.keyboard.press("Escape")
        tab.page.get_by_role("button", name="Settings").click()
        found["settings"] = problems(tab)
        tab.page.keyboard.press("Escape")
        tab.page.get_by_role("button", name="Record a sound").click()
        expect(tab.page.locator("#recording")).to_be_visible()
        found["recording"] = problems(tab)
        tab.page.keyboard.press("Escape")
    assert {state: broken for state, broken in found.items() if broken} == {}
    assert len(found) == 6


def _refused() -> Any:
    from server.errors import ApiError

    return ApiError(status=400, message="the sound is truncated", param="messages[2].content[0]")


def problems(tab: Visit) -> list[str]:
    """What breaks a rule, and where."""
    result = tab.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{broken['id']}: {node['target']} {node['failureSummary'][:200]}"
        for broken in result["violations"]
        for node in broken["nodes"]
    ]
