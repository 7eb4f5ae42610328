"""The page of monitoring: what is recorded, what was found, what followed, and what to do where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.browser import KEY, Open, Visit, film
from tests.support.serving import NAME, mirror, server_of
from tests.support.watched import IMAGES, fill

pytestmark = pytest.mark.integration
AWAY = {"status": 503, "code": "database", "detail": "unable to open database file"}
OFF = {"status": 404, "code": "not_found", "detail": "this service records nothing"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Iterator[tuple[str, str]]:
    """A service with a stream, an alarm and loops, and the trace id of the loop that runs."""
    work = tmp_path_factory.mktemp("watched") / "work"
    mirror(work, exports, 1)
    trace = fill(work)
    with server_of(work, f"tracking.uri=sqlite:///{work}/mlflow.db") as server:
        yield server.url, trace


@pytest.fixture(scope="module")
def unused(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Iterator[str]:
    """A service that nobody has asked yet."""
    work = tmp_path_factory.mktemp("unused") / "work"
    mirror(work, exports, 1)
    with server_of(work, f"tracking.uri=sqlite:///{work}/mlflow.db") as server:
        yield server.url


@pytest.fixture
def monitor(visit: Open, watched: tuple[str, str]) -> Callable[..., Visit]:
    def open_page(url: str = watched[0], query: str = "", **options: Any) -> Visit:
        seen = visit(url, **options)
        seen.page.goto(f"{url}/monitor{query}")
        expect(seen.page.locator("#panels, #trouble").filter(visible=True).first).to_be_visible()
        return seen

    return open_page


def pass_by(seen: Visit, milliseconds: int = 31_000) -> None:
    """Let time pass on the page, and wait until it shows what it has asked for then."""
    shown = seen.page.locator("#updated")
    before = shown.inner_text()
    seen.page.clock.fast_forward(milliseconds)
    expect(shown).not_to_have_text(before)


def change(seen: Visit, **members: Any) -> None:
    """Let the service answer, and change what it says."""

    def handle(route: Any) -> None:
        found = route.fetch()
        route.fulfill(response=found, json=found.json() | members)

    seen.page.route("**/v1/monitor*", handle)


def test_an_alarm_is_shown_with_what_it_is_about(monitor: Callable[..., Visit]) -> None:
    seen = monitor()
    verdict = seen.page.locator("#verdict")
    expect(verdict.locator(".verdict")).to_have_text("Alarm: the images have changed")
    expect(verdict).to_contain_text("Acquisition: the images look as if device")
    expect(verdict).to_contain_text("Look at the device, its settings")
    expect(verdict).to_contain_text("made for 1 false alarm in 10,000 images")
    expect(verdict).to_contain_text("35% (22% to 47%)")
    expect(verdict).to_contain_text("Not a medical device")
    expect(seen.page.locator(".notice")).to_be_in_viewport()
    expect(seen.page.locator("#watched")).to_contain_text("This model is watched")
    expect(seen.page.locator("#served")).to_have_text(f"{NAME} · version 1")
    expect(seen.page.locator("#phantom")).to_be_visible()
    assert seen.page.title() == "Monitoring"


def test_tests_statistics_and_metrics_have_their_numbers(monitor: Callable[..., Visit]) -> None:
    seen = monitor()

    def rows(name: str) -> list[str]:
        table = seen.page.get_by_role("group", name=name)
        return [" ".join(text.split()) for text in table.locator("tbody tr").all_inner_texts()]

    tests = rows("Tests against the alarm level")
    assert [each.split(" ")[0] for each in tests] == ["Probability", "Embeddings", "Image", "Foreign"]
    assert tests[0].endswith("2.40 alarm")
    assert "0.310 (0.250 to 0.400)" in tests[1]
    assert "< 0.001" in tests[2]
    assert tests[3].endswith("0.60")
    seen.page.get_by_text("All windows").click()
    assert seen.page.get_by_role("group", name="All windows").locator("tbody tr").count() == 8
    moved = rows("Image statistics that moved most")
    assert len(moved) == 6
    assert moved[0].startswith("JPEG quantisation 0.400 -1.20 -0.70 1.50 alarm")
    seen.page.get_by_text("The other statistics").click()
    expect(seen.page.get_by_role("rowheader", name="Grey level, quantile 0.98")).to_be_visible()
    quality = rows("Quality, estimated without labels")
    assert [each.startswith(name) for each, name in zip(quality, ("Accuracy", "AUROC"), strict=True)] == [True, True]
    low = "0.710 (0.660 to 0.770) below the band"
    assert quality[0] == f"Accuracy {low} 0.850 to 0.950 {low}"
    assert quality[1] == "AUROC 0.710 (0.660 to 0.770) in the band 0.600 to 0.800 –"


def test_the_stream_is_drawn_and_is_a_table_too(monitor: Callable[..., Visit]) -> None:
    seen = monitor(query="?hours=24")
    stream = seen.page.locator("#stream")
    expect(stream.locator(".tiles")).to_contain_text(f"Images\n{IMAGES}", use_inner_text=True)
    expect(stream.locator(".tiles")).to_contain_text("Refused\n10%", use_inner_text=True)
    for title in ("Images over time", "Shares over time", "Probability of pneumonia"):
        figure = seen.page.get_by_role("figure", name=title)
        expect(figure.get_by_role("img")).to_be_visible()
        box = figure.get_by_role("img").bounding_box()
        assert box is not None
        assert box["width"] > 240
        assert figure.locator("svg rect, svg path").count() >= 3
        figure.get_by_text("The same as a table").click()
        assert figure.locator("tbody tr").count() >= 8
    counts = seen.page.get_by_role("figure", name="Images over time").locator("tbody td:nth-of-type(1)")
    assert sum(map(int, counts.all_inner_texts())) == IMAGES
    shares = seen.page.get_by_role("figure", name="Probability of pneumonia").locator("tbody tr")
    assert shares.count() == 10
    expect(stream.get_by_role("group", name="Refusals by reason")).to_contain_text("not_a_radiograph")
    history = seen.page.get_by_role("figure", name="Scores of the last looks")
    assert history.locator("path.mark.alarm").count() == 1
    assert history.locator("circle.mark").count() == 2
    assert history.get_by_role("img").get_attribute("aria-label") == "Scores of 3 looks over time; alarms: 1"


def test_loops_and_feedback(monitor: Callable[..., Visit], watched: tuple[str, str]) -> None:
    seen = monitor()
    rows = seen.page.locator("#loops tbody tr")
    assert rows.count() == 3
    expect(rows.nth(0)).to_contain_text("running")
    expect(rows.nth(0)).to_contain_text(watched[1])
    expect(rows.nth(1)).to_contain_text("refused by the gate")
    expect(rows.nth(1)).to_contain_text("sensitivity is no better")
    expect(rows.nth(2)).to_contain_text("0 → 2")
    found = seen.page.locator("#feedback tbody tr").all_inner_texts()
    assert [each.split() for each in found] == [
        ["settled", "1"], ["open", "1"], ["disputed", "0"], ["Agree", "0"], ["Disagree", "2"], ["Unsure", "1"],
    ]  # fmt: skip


def test_the_time_is_chosen_and_stays_in_the_address(monitor: Callable[..., Visit]) -> None:
    seen = monitor()
    expect(seen.page.get_by_role("button", name="Week")).to_have_attribute("aria-pressed", "true")
    seen.page.get_by_role("button", name="Hour").click()
    expect(seen.page.locator("#stream .tiles")).to_contain_text("Images\n4", use_inner_text=True)
    assert seen.page.url.endswith("/monitor?hours=1")
    seen.page.reload()
    expect(seen.page.get_by_role("button", name="Hour")).to_have_attribute("aria-pressed", "true")
    asked = [request.url.rpartition("/")[2] for request in seen.requests if "/v1/monitor" in request.url]
    assert asked == ["monitor?hours=168", "monitor?hours=1", "monitor?hours=1"]


def test_it_refreshes_itself_and_rests_while_nobody_looks(visit: Open, watched: tuple[str, str]) -> None:
    seen = visit(watched[0])
    seen.page.clock.install()
    seen.page.goto(f"{watched[0]}/monitor")
    expect(seen.page.locator("#updated")).not_to_be_empty()

    def asked() -> int:
        return sum("/v1/monitor" in request.url for request in seen.requests)

    def hide(hidden: bool) -> None:
        seen.page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    table = seen.page.get_by_role("figure", name="Images over time")
    table.get_by_text("The same as a table").click()
    pass_by(seen)
    expect(table.locator("tbody")).to_be_visible()  # stays as it was opened
    expect(table.locator("summary")).to_be_focused()
    hide(True)
    before = asked()
    seen.page.clock.fast_forward(300_000)
    seen.page.wait_for_timeout(300)
    assert asked() == before
    shown = seen.page.locator("#updated").inner_text()
    hide(False)
    expect(seen.page.locator("#updated")).not_to_have_text(shown)
    change(seen, drift=None)
    pass_by(seen)
    expect(seen.page.locator("#verdict")).to_contain_text("python flows/monitor.py")


def test_a_new_verdict_is_read_aloud(visit: Open, watched: tuple[str, str]) -> None:
    seen = visit(watched[0])
    seen.page.clock.install()
    seen.page.goto(f"{watched[0]}/monitor")
    expect(seen.page.locator(".verdict")).to_contain_text("Alarm")
    expect(seen.page.locator("#status")).to_be_empty()
    drift = seen.page.evaluate("fetch('/v1/monitor').then((answer) => answer.json())")["drift"]
    quiet = {"checked_at": "2030-01-01T00:00:00+00:00", "alarm": False, "kind": "none", "score": 0.5}
    change(seen, drift=drift | quiet | {"version": "7", "advice": "Nothing to do."})
    seen.page.clock.fast_forward(31_000)
    expect(seen.page.locator("#status")).to_have_text("No alarm: the images are like the reference")
    expect(seen.page.locator("#verdict")).to_contain_text("This look was at version 7; version 1 answers now.")


def test_nothing_yet_says_what_to_do(monitor: Callable[..., Visit], unused: str) -> None:
    seen = monitor(unused)
    expect(seen.page.locator("#watched")).to_contain_text("nobody has looked at drift yet")
    expect(seen.page.locator("#verdict code")).to_have_text("python flows/monitor.py")
    expect(seen.page.locator("#stream")).to_contain_text("No image has been recorded in this time.")
    expect(seen.page.locator("#loops")).to_contain_text("None yet.")
    expect(seen.page.locator("#feedback")).to_contain_text("No reader has said anything yet.")
    expect(seen.page.locator("#history figure")).to_be_hidden()
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()
    seen.page.locator("#stream").get_by_role("link", name="Radiographs").click()
    expect(seen.page.locator("#model-card .identity")).to_be_visible()
    seen.upload(film())
    while seen.page.evaluate("fetch('/v1/monitor').then((answer) => answer.json())")["waiting"]:
        seen.page.wait_for_timeout(100)
    seen.page.get_by_role("link", name="Monitoring").click()
    expect(seen.page.locator("#stream .tiles")).to_contain_text("Images\n1", use_inner_text=True)


def test_without_the_database_it_says_so_and_keeps_what_it_has(visit: Open, watched: tuple[str, str]) -> None:
    seen = visit(watched[0])
    seen.page.clock.install()
    seen.page.route("**/v1/monitor*", lambda route: route.fulfill(status=503, json=AWAY), times=1)
    seen.page.goto(f"{watched[0]}/monitor")
    trouble = seen.page.locator("#trouble")
    expect(trouble).to_contain_text("The monitoring database is away")
    expect(trouble.locator("[lang=en]")).to_have_text(str(AWAY["detail"]))
    expect(seen.page.locator("#panels")).to_be_hidden()
    seen.page.clock.fast_forward(31_000)
    expect(seen.page.locator(".verdict")).to_contain_text("Alarm")
    expect(trouble).to_be_hidden()
    seen.page.route("**/v1/monitor*", lambda route: route.fulfill(status=503, json=AWAY), times=1)
    seen.page.clock.fast_forward(31_000)
    expect(trouble).to_contain_text("What is shown below is of")
    expect(seen.page.locator(".verdict")).to_contain_text("Alarm")


def test_without_monitoring_or_recording_or_a_model_it_says_so(visit: Open, watched: tuple[str, str]) -> None:
    seen = visit(watched[0])
    seen.page.route("**/v1/monitor*", lambda route: route.fulfill(status=404, json=OFF), times=1)
    seen.page.goto(f"{watched[0]}/monitor")
    expect(seen.page.locator("#trouble")).to_contain_text("pneumonia serve --set monitoring.record=true")
    assert "404" in seen.complaints.pop()
    change(seen, recording=False, waiting=7)
    seen.page.reload()
    expect(seen.page.locator("#watched")).to_contain_text("Recording is off")
    expect(seen.page.locator("#watched")).to_contain_text("wait on disk for the database: 7.")
    seen.page.unroute("**/v1/monitor*")
    change(seen, model=None, version=None)
    seen.page.reload()
    expect(seen.page.locator("#trouble")).to_contain_text("make run")


def test_the_key_is_asked_for_by_the_same_form(visit: Open, locked: str) -> None:
    seen = visit(locked)
    seen.page.goto(f"{locked}/monitor")
    field = seen.page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill("wrong")
    seen.page.keyboard.press("Enter")
    expect(seen.page.get_by_role("alert")).to_have_text("The service did not accept this key.")
    field.fill(KEY)
    seen.page.get_by_role("button", name="Use this key").click()
    expect(seen.page.locator("#panels")).to_be_visible()
    seen.page.get_by_role("link", name="Radiographs").first.click()
    expect(seen.page.locator("#model-card .identity")).to_be_visible()  # with the key that was given


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(monitor: Callable[..., Visit], scheme: str, locale: str) -> None:
    seen = monitor(locale=locale, color_scheme=scheme, reduced_motion="reduce")
    expect(seen.page.locator(".verdict")).to_be_visible()
    if locale == "fr-FR":
        expect(seen.page.get_by_role("heading", level=1)).to_have_text("Surveillance")
        expect(seen.page.locator("#verdict")).to_contain_text("Examiner l’appareil")
        assert seen.page.locator("#verdict [lang=en]").count() == 0
    seen.page.locator("summary").evaluate_all("found => found.forEach(each => each.click())")
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_a_narrow_screen_does_not_scroll_sideways(monitor: Callable[..., Visit], locale: str) -> None:
    seen = monitor(locale=locale, viewport={"width": 320, "height": 700})
    expect(seen.page.locator(".verdict")).to_be_visible()
    seen.page.locator("summary").evaluate_all("found => found.forEach(each => each.click())")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 320
    for picture in seen.page.get_by_role("img").all():
        box = picture.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 320
