"""A conversation in the browser: what is sent, what is shown, and what happens when it fails."""

import base64
import re
import threading
from typing import Any

import pytest

from server.errors import ApiError
from tests.support.browser import CAT, SEVEN, Visit, chromium
from tests.support.scripted import Answer, Scripted

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

PICTURE = {
    "type": "image_url",
    "image_url": {"url": "data:image/png;base64," + base64.b64encode(CAT.read_bytes()).decode()},
}
SOUND = {"type": "input_audio", "input_audio": {"data": base64.b64encode(SEVEN.read_bytes()).decode(), "format": "wav"}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_a_dropped_picture_is_sent_where_the_caret_was(tab: Visit, scripted: Scripted) -> None:
    tab.write("Look at and answer")
    for _ in range(len(" and answer")):
        tab.page.keyboard.press("ArrowLeft")
    tab.drop(("cat.png", "image/png", CAT.read_bytes()))
    tab.write(" here")
    tab.send()
    (body,) = scripted.asked
    assert body["messages"] == [user(text("Look at"), PICTURE, text(" here and answer"))]
    assert {name: body[name] for name in ("model", "temperature", "max_tokens", "stream")} == {
        "model": "m", "temperature": 0, "max_tokens": 256, "stream": True,
    }  # fmt: skip
    assert tab.answer == "Yes."
    assert tab.page.locator(".turn.user .chip img").is_visible()


def test_pasted_media_and_their_order(tab: Visit, scripted: Scripted) -> None:
    """Moved with the buttons and with the keyboard, removed, and sent as they stand."""
    tab.write("one ")
    tab.choose(CAT)
    tab.write(" two ")
    tab.page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "seven.wav", { type: "audio/wav" }));
          document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        list(SEVEN.read_bytes()),
    )
    sound = tab.page.get_by_role("group", name="Sound seven.wav")
    expect(sound).to_be_visible()
    sound.get_by_role("button", name="Move earlier: seven.wav").click()
    sound.get_by_role("button", name="Move earlier: seven.wav").click()
    tab.page.keyboard.press("Alt+ArrowLeft")
    tab.choose(CAT)
    expect(tab.page.locator(".flow .chip")).to_have_count(3)
    tab.page.locator(".flow .chip").nth(1).get_by_role("button", name="Remove cat.png").click()
    tab.send()
    assert scripted.asked[0]["messages"] == [user(SOUND, text("one "), PICTURE, text(" two "))]


def test_an_answer_arrives_piece_by_piece_and_can_be_stopped(tab: Visit, scripted: Scripted) -> None:
    gate = threading.Event()
    scripted.answers = [Answer(("First ", "second ", "third"), gate=gate)]
    tab.write("Count")
    tab.page.keyboard.press("Enter")
    said = tab.page.locator(".turn.assistant .said")
    expect(said).to_have_text("First ")
    expect(tab.page.get_by_role("button", name="Stop")).to_be_enabled()
    gate.set()
    expect(said).to_have_text("First second ")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator(".turn.assistant.stopped")).to_be_visible()
    assert scripted.left.wait(10)
    assert tab.answer.strip() == "First second"
    tab.write("Go on")
    tab.send()
    assert scripted.asked[1]["messages"] == [
        user(text("Count")), {"role": "assistant", "content": "First second "}, user(text("Go on")),
    ]  # fmt: skip


def test_tokens_of_every_message(tab: Visit, scripted: Scripted) -> None:
    tab.choose(CAT)
    expect(tab.page.locator("#count")).to_have_text("40 tokenstext 36, image 48,152 left")
    expect(tab.page.locator(".flow .chip .fact")).to_have_text("4 tokens")
    tab.write("What is it?")
    tab.send()
    expect(tab.page.locator(".turn.user .tally")).to_have_text("40 tokens: text 36, image 4")
    expect(tab.page.locator(".turn.assistant .tally")).to_contain_text("2 tokens · 42 in all · 16 cached")


def test_what_was_counted_once_is_not_sent_again_to_be_counted(tab: Visit, scripted: Scripted) -> None:
    tab.choose(CAT)
    expect(tab.page.locator("#count")).not_to_be_empty()
    assert scripted.counted[-1]["messages"] == [user(PICTURE)]
    tab.write("And this?")
    tab.page.wait_for_timeout(1000)
    (part, words) = scripted.counted[-1]["messages"][0]["content"]
    assert part["type"] == "image_url"
    assert len(part["image_url"]["url"]) < 200
    assert words == text("And this?")
    tab.send()
    assert scripted.asked[0]["messages"] == [user(PICTURE, text("And this?"))]


def test_an_error_stands_at_the_part_that_is_to_blame(tab: Visit, scripted: Scripted) -> None:
    refused = ApiError(
        status=400,
        message="messages[0].content[3]: the sound is truncated",
        param="messages[0].content[3]",
        code="invalid_media",
    )
    scripted.answers = [Answer((), refused), Answer(("Better.",))]
    tab.write("a ")
    tab.choose(CAT)
    tab.write(" b ")
    tab.choose(SEVEN)
    tab.send()
    failure = tab.page.get_by_role("alert").filter(has_text="truncated")
    expect(failure).to_have_text("seven.wav: The sound is truncatedHTTP 400 · invalid_media · messages[0].content[3]")
    assert tab.page.locator(".turn .chip.faulty .name").all_inner_texts() == ["seven.wav"]
    tab.page.get_by_role("button", name="Edit").click()
    expect(tab.page.locator(".turn")).to_have_count(0)
    tab.page.get_by_role("button", name="Remove seven.wav").click()
    tab.send()
    assert scripted.asked[1]["messages"] == [user(text("a "), PICTURE, text(" b "))]
    assert tab.answer == "Better."
    expect(tab.page.locator(".faulty")).to_have_count(0)


def test_an_error_about_an_earlier_turn_and_the_system_message(tab: Visit, scripted: Scripted) -> None:
    """The system message shifts the positions; the part is found all the same."""
    tab.page.get_by_role("button", name="Settings").click()
    tab.page.get_by_label("System message").fill("Be brief.")
    tab.page.get_by_role("button", name="Done").click()
    scripted.answers = [Answer(), Answer((), ApiError(status=400, message="too many", param="messages[1].content[0]"))]
    tab.page.locator(".text").focus()
    tab.choose(CAT)
    tab.send()
    tab.write("More")
    tab.send()
    assert scripted.asked[1]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert tab.page.locator(".turn").first.locator(".chip.faulty").count() == 1


def test_an_error_while_counting_marks_the_medium_before_it_is_sent(tab: Visit, scripted: Scripted) -> None:
    scripted.count_error = ApiError(status=400, message="the picture is damaged", param="messages[0].content[1]")
    tab.write("Look ")
    tab.choose(CAT)
    expect(tab.page.locator("#notice")).to_have_text("cat.png: the picture is damaged")
    assert tab.page.locator(".flow .chip.faulty").count() == 1
    scripted.count_error = None
    tab.write("!")
    expect(tab.page.locator(".flow .chip.faulty")).to_have_count(0)
    expect(tab.page.locator("#notice")).to_be_hidden()


def test_an_error_about_a_setting_leads_to_it(tab: Visit, scripted: Scripted) -> None:
    scripted.answers = [
        Answer((), ApiError(status=400, message="at most 2", param="temperature", code="decimal_above_max_value"))
    ]
    tab.write("Hi")
    tab.send()
    tab.page.get_by_role("button", name="Change the settings").click()
    field = tab.page.get_by_label("Temperature")
    expect(field).to_be_focused()
    expect(field).to_have_class("faulty")
    expect(tab.page.locator("#settings-problem")).to_have_text("at most 2")


def test_a_stream_that_fails_keeps_what_was_said_and_can_be_repeated(tab: Visit, scripted: Scripted) -> None:
    scripted.answers = [
        Answer(("Half an",), ApiError(status=500, message="the server failed to answer")),
        Answer(("Whole.",)),
    ]
    tab.write("Hi")
    tab.send()
    expect(tab.page.locator(".turn.assistant .failure")).to_contain_text("The server failed to answer")
    assert tab.answer == "Half an"
    tab.page.get_by_role("button", name="Retry").click()
    expect(tab.page.locator(".turn.assistant.done")).to_have_text(
        re.compile(r"^AnswerWhole\.2 tokens · 42 in all · 16 cached · \d+\.\d sCopyRetry$")
    )
    assert scripted.asked[0] == scripted.asked[1]


def test_a_question_without_an_answer_is_left_out_of_the_next_request(tab: Visit, scripted: Scripted) -> None:
    scripted.answers = [Answer((), ApiError(status=503, message="full"))]
    tab.write("Lost")
    tab.send()
    expect(tab.page.locator(".turn.left-out")).to_have_count(2)
    tab.write("Found")
    tab.send()
    assert scripted.asked[1]["messages"] == [user(text("Found"))]


def test_broken_streams_are_said(tab: Visit, scripted: Scripted) -> None:
    scripted.answers = [
        Answer(raw=b'data: {"choices":[{"delta":{"content":"Unfin"}}]}\r\n\r\n'),
        Answer(raw=b"data: {not json\n\n"),
    ]
    tab.write("Hi")
    tab.send()
    expect(tab.page.locator(".failure").last).to_contain_text("cut off")
    tab.write("Hi")
    tab.send()
    expect(tab.page.locator(".failure").last).to_contain_text("no answer")


def test_characters_cut_anywhere_are_whole_again(tab: Visit, scripted: Scripted) -> None:
    stream = (
        'event: x\r\nid: 1\r\ndata: {"choices":[{"delta":{"content":"Kucing 🐈 é"}}]}\r\n\r\n'
        ': ping\n\ndata: {"choices":\ndata: [{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    scripted.answers = [Answer(raw=stream.encode())]
    tab.write("Hi")
    tab.send()
    assert tab.answer == "Kucing 🐈 é"


def test_new_conversation(tab: Visit, scripted: Scripted) -> None:
    tab.write("Hi")
    tab.send()
    tab.write("draft")
    tab.page.get_by_role("button", name="New conversation").click()
    expect(tab.page.locator(".turn")).to_have_count(0)
    expect(tab.page.get_by_role("textbox", name="Message")).to_be_focused()
    tab.write("Again")
    tab.send()
    assert scripted.asked[1]["messages"] == [user(text("Again"))]


def test_the_server_is_gone(tab: Visit) -> None:
    tab.page.route("**/v1/**", lambda route: route.abort())
    tab.write("Hi")
    tab.send()
    expect(tab.page.locator(".failure")).to_have_text("The server does not answer. Is it still running?")


def test_chromium_is_what_the_tests_say() -> None:
    assert chromium().startswith("/")
