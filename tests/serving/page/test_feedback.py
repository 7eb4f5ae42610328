"""Readers speak about answers on the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Route, expect

from pneumonia.config.schema import Config
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.feedback import reviewed_events, words_about
from pneumonia.records.feedback import NOTE_LETTERS, Feedback
from tests.support.browser import KEY, REFUSED, Open, Visit, film, of, photograph

pytestmark = pytest.mark.integration
SENT = "/v1/feedback"


def words_of(work: Path, event: str) -> Sequence[Feedback]:
    database = Database.of(Config(work=str(work)))
    try:
        return words_about(database, event)
    finally:
        database.close()


def event_of(seen: Visit) -> str:
    """The event of the last answer."""
    answers = [request.response() for request in seen.requests if request.url.endswith("/v1/predict")]
    assert answers[-1] is not None
    document = answers[-1].json()
    return str(document["results"][0]["event"] if "results" in document else document["event"])


def sent(seen: Visit) -> list[Any]:
    return [json.loads(request.post_data or "") for request in seen.requests if request.url.endswith(SENT)]


def press(card: Locator, name: str) -> None:
    card.get_by_role("button", name=name, exact=True).click()


def test_two_readers_settle_a_label(visit: Open, work: Path) -> None:
    seen = visit().open()
    card = seen.upload(film())
    decision = card.locator(".decision").get_attribute("data-decision")
    name, said = seen.page.get_by_label("Your name"), card.locator(".said")
    name.fill("  First reader ")
    press(card, "Disagree")
    expect(said).to_contain_text("Sent: you disagree; label: ")
    name.fill("second")
    name.press("Tab")
    expect(said).to_be_empty()  # the second reader has said nothing yet
    assert card.locator("[aria-pressed=true]").count() == 0
    press(card, "Disagree")
    expect(said).to_contain_text("Sent: you disagree")
    event = event_of(seen)
    words = words_of(work, event)
    assert [each.verdict for each in words] == ["disagree", "disagree"]
    assert {each.label for each in words} == {"NORMAL", "PNEUMONIA"} - {decision}
    assert len({each.reader for each in words}) == 2
    assert not any("reader " in each.reader or each.reader == "second" for each in words)
    database = Database.of(Config(work=str(work)))
    assert [each.state for each in reviewed_events(database, event_ids=[event])] == ["settled"]
    database.close()


def test_a_word_is_changed_and_a_note_is_added(visit: Open, work: Path) -> None:
    seen = visit().open()
    card = seen.upload(film())
    said = card.locator(".said")
    press(card, "Agree")
    expect(said).to_contain_text("Sent: you agree")
    press(card, "Unsure")
    expect(said).to_have_text("Changed: you are unsure.")
    expect(card.locator("[aria-pressed=true]")).to_have_text("Unsure")
    card.get_by_text("Add a note").click()
    field = card.get_by_label("Note for other readers")
    expect(card.locator(".note .hint")).to_contain_text("No names")
    assert field.get_attribute("maxlength") == str(NOTE_LETTERS)
    expect(card.get_by_role("button", name="Send the note")).to_be_hidden()
    field.fill("both bases")
    press(card, "Send the note")
    expect(said).to_have_text("Changed: you are unsure; with your note.")
    expect(card.get_by_role("button", name="Send the note")).to_be_hidden()
    seen.page.get_by_role("button", name="Français").click()
    expect(said).to_have_text("Modifié\u202f: vous hésitez\u202f; avec votre note.")
    assert card.get_by_label("Note pour les autres lecteurs").input_value() == "both bases"
    (word,) = words_of(work, event_of(seen))
    assert (word.verdict, word.label, word.note) == ("unsure", None, "both bases")
    assert all("reader" not in each for each in sent(seen))


def test_by_the_keyboard_alone(visit: Open, work: Path) -> None:
    seen = visit().open()
    card = seen.upload(film())
    card.locator("input[type=range]").focus()
    for _ in range(3):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("document.activeElement.dataset.verdict") == "disagree":
            break
    seen.page.keyboard.press("Enter")
    expect(card.locator(".said")).to_contain_text("Sent: you disagree")
    expect(card.get_by_role("button", name="Disagree")).to_be_focused()
    assert [each.verdict for each in words_of(work, event_of(seen))] == ["disagree"]


@pytest.mark.parametrize("delay", [0, 400])
def test_a_double_click_sends_once(visit: Open, delay: int) -> None:
    seen = visit().open()
    card = seen.upload(film())

    def late(route: Route) -> None:
        found = route.fetch()
        seen.page.wait_for_timeout(delay)
        route.fulfill(response=found)

    seen.page.route(f"**{SENT}", late)
    card.get_by_role("button", name="Agree", exact=True).dblclick()
    expect(card.locator(".said")).to_contain_text("Sent: you agree")
    card.get_by_role("button", name="Agree", exact=True).dblclick()
    press(card, "Disagree")
    expect(card.locator(".said")).to_contain_text("Changed: you disagree")
    assert [each["verdict"] for each in sent(seen)] == ["agree", "disagree"]


def test_a_refused_image_needs_a_label(visit: Open, work: Path) -> None:
    seen = visit().open()
    card = seen.upload(photograph(), state=REFUSED)
    press(card, "Disagree")
    expect(card.locator(".said")).to_contain_text("say what it shows")
    expect(card.get_by_label("normal")).to_be_focused()
    assert sent(seen) == []
    card.get_by_label("pneumonia").check()
    press(card, "Disagree")
    expect(card.locator(".said")).to_have_text("Sent: you disagree; label: pneumonia.")
    (word,) = words_of(work, event_of(seen))
    assert (word.verdict, word.label) == ("disagree", "PNEUMONIA")
    press(card, "Unsure")
    expect(card.locator(".said")).to_have_text("Changed: you are unsure.")


def test_what_fails_is_said_and_can_be_sent_again(visit: Open) -> None:
    seen = visit().open()
    card = seen.upload(film())
    gone = {"status": 404, "code": "not_found", "detail": "there is no event of this name"}
    seen.page.route(f"**{SENT}", lambda route: route.fulfill(status=404, json=gone), times=1)
    press(card, "Agree")
    expect(card.locator(".said")).to_contain_text("Not stored. The service does not have this")
    expect(card.locator(".said [lang=en]")).to_have_text(gone["detail"])
    assert card.locator("[aria-pressed=true]").count() == 0
    assert "404" in seen.complaints.pop()
    away = {"status": 503, "code": "database", "detail": "no such file"}
    seen.page.route(f"**{SENT}", lambda route: route.fulfill(status=503, json=away), times=1)
    press(card, "Agree")
    expect(card.locator(".said")).to_contain_text("The monitoring database cannot be used")
    press(card, "Agree")
    expect(card.locator(".said")).to_contain_text("Sent: you agree")


def test_an_answer_that_is_not_recorded_cannot_be_spoken_about(visit: Open) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", of({"event": None}))
    card = seen.upload(film())
    assert card.locator(".feedback").count() == 0
    expect(seen.page.locator("#reader")).to_be_hidden()


def test_the_key_names_the_reader(visit: Open, locked: str) -> None:
    seen = visit(locked)
    seen.page.goto(locked)
    seen.page.get_by_label("API key").fill(KEY)
    seen.page.get_by_role("button", name="Use this key").click()
    expect(seen.page.locator("#model-card .identity")).to_be_visible()
    card = seen.upload(film())
    expect(seen.page.locator("#reader")).to_be_hidden()
    press(card, "Agree")
    expect(card.locator(".said")).to_contain_text("Sent: you agree")
    assert sent(seen)[0].keys() == {"event", "verdict", "note"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Open, scheme: str) -> None:
    seen = visit(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 320, "height": 700}).open()
    seen.upload(photograph(), state=REFUSED)
    press(seen.page.locator(REFUSED), "Agree")
    card = seen.upload(film())
    card.get_by_text("Add a note").click()
    press(card, "Agree")
    expect(card.locator(".said")).to_contain_text("Sent")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 320
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()
