"""How the page asks the service: keys, waiting, errors, many files."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

from tests.support.browser import (
    ANSWERED,
    FAILED,
    KEY,
    Open,
    film,
)

pytestmark = pytest.mark.integration


def test_a_key_is_typed_once(visit: Open, locked: str) -> None:
    seen = visit(locked)
    seen.page.goto(locked)
    field = seen.page.get_by_label("API key")
    expect(field).to_be_focused()
    assert field.get_attribute("type") == "password"
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()
    for wrong in ("wrong", "clé"):  # the second can be no header's
        field.fill(wrong)
        seen.page.keyboard.press("Enter")
        expect(seen.page.get_by_role("alert")).to_have_text("The service did not accept this key.")
    field.fill(KEY)
    seen.page.get_by_role("button", name="Use this key").click()
    expect(seen.page.locator("#model-card .identity")).to_be_visible()
    expect(field).to_be_hidden()
    seen.upload(film())
    sent = [request for request in seen.requests if "/v1/" in request.url]
    assert sent[-1].headers["authorization"] == f"Bearer {KEY}"
    seen.open()  # once a tab
    expect(seen.page.locator("#samples")).to_be_visible()
    assert seen.page.evaluate("Object.keys(localStorage).length") == 0


def test_without_a_champion_the_page_says_how_to_make_one(visit: Open) -> None:
    seen = visit()
    none = {"status": 503, "title": "Service Unavailable", "detail": "no champion"}
    seen.page.route("**/v1/model", lambda route: route.fulfill(status=503, json=none), times=1)
    seen.page.goto(seen.url)
    expect(seen.page.locator("#absent")).to_contain_text("make run")
    expect(seen.page.locator("#files")).to_be_hidden()
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()
    expect(seen.page.locator("#model-card .identity")).to_be_visible(timeout=10_000)  # goes on by itself
    expect(seen.page.locator("#absent")).to_be_hidden()


def test_a_service_that_fails_is_told_and_looked_at_again(visit: Open) -> None:
    seen = visit(locale="fr-FR")
    seen.page.route("**/v1/model", lambda route: route.fulfill(status=500, json={"status": 500}), times=1)
    seen.page.goto(seen.url)
    expect(seen.page.locator("#absent")).to_contain_text("son journal dit pourquoi")
    expect(seen.page.locator("#model-card .identity")).to_be_visible(timeout=10_000)
    assert "500" in seen.complaints.pop()


def test_a_busy_service_is_asked_again(visit: Open) -> None:
    seen = visit().open()
    busy = {"status": 503, "title": "Service Unavailable", "detail": "busy"}
    tries = []

    def handle(route: Route) -> None:
        tries.append(route)
        if len(tries) < 3:
            route.fulfill(status=503, json=busy, headers={"Retry-After": "1"})
        else:
            route.continue_()

    seen.page.route("**/v1/predict", handle)
    seen.page.set_input_files("#files", [film()])  # type: ignore[list-item]
    expect(seen.page.locator("[data-state=busy]")).to_contain_text("next try in 1 s")
    seen.page.locator(ANSWERED).wait_for()
    assert len(tries) == 3


def test_a_lost_connection_is_told_and_tried_again_by_a_button(visit: Open) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", lambda route: route.abort(), times=1)
    card = seen.upload(film(), state=FAILED)
    expect(card).to_contain_text("The service cannot be reached")
    card.get_by_role("button", name="Try again").click()
    seen.page.locator(ANSWERED).wait_for()
    assert seen.complaints.pop() == "Failed to load resource: net::ERR_FAILED"


def test_many_files_are_sent_two_at_a_time(visit: Open) -> None:
    seen = visit().open()
    under_way: list[int] = []
    seen.page.route("**/v1/predict", lambda route: (under_way.append(1), route.continue_())[1])
    seen.upload(*(film(f"film-{seed}.png", seed) for seed in range(7)))
    expect(seen.page.locator(ANSWERED)).to_have_count(7)
    times = seen.page.evaluate(
        "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/v1/predict'))"
        ".map(each => [each.startTime, each.responseEnd])"
    )
    assert len(times) == len(under_way) == 7
    assert max(sum(begin <= at < end for begin, end in times) for at, _ in times) <= 2
    names = seen.page.locator("#cards h3").all_inner_texts()
    assert names == [f"film-{seed}.png" for seed in range(7)]
    expect(seen.page.locator("#status")).to_contain_text("7 of 7 files done")
    seen.page.get_by_role("button", name="Clear all").click()
    expect(seen.page.locator("#results")).to_be_hidden()
    expect(seen.page.locator("#files")).to_be_focused()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_files_are_dropped_and_pasted(visit: Open, event: str) -> None:
    seen = visit().open()
    seen.page.evaluate(
        """([event, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], `${event}.png`));
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(event === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data }));
        }""",
        [event, list(film()["buffer"])],
    )
    expect(seen.page.locator(ANSWERED).locator("h3")).to_have_text(f"{event}.png")
