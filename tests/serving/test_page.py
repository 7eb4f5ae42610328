"""The service's page, driven in Chromium against a running service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from pneumonia.data.phantom.dataset import render
from pneumonia.inference.served_model import ServedModel
from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.registry.mirror import Mirror
from pneumonia.serving import card as model_card
from tests.support.browser import ANSWERED, FAILED, REFUSED, Visit, chromium, drawn
from tests.support.images import dicom, jpeg, png
from tests.support.serving import NAME, mirror, server_of

pytestmark = pytest.mark.integration

KEY = "right-and-long-enough"
Upload = dict[str, Any]
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Path:
    """A work folder whose mirror names a champion, with metrics as a promotion writes them."""
    folder = tmp_path_factory.mktemp("page") / "work"
    metric = Metric(value=0.93, low=0.88, high=0.97)
    counts = {"NORMAL": 20, "PNEUMONIA": 30}
    outside = OutsideMetrics(name="elsewhere", when="2026-01-02", rows="0" * 64, counts=counts, threshold=0.5)
    found = {
        "metrics": dict.fromkeys(("auroc", "sensitivity", "specificity", "brier"), metric),
        "measured_on": "release set",
        "outside": (outside.model_copy(update={"metrics": {"auroc": metric}}),),
    }
    Mirror(folder, NAME).write(mirror(folder, exports, 1).model_copy(update=found))
    return folder


@contextmanager
def running(work: Path, **environment: str) -> Iterator[str]:
    with server_of(work, f"tracking.uri=sqlite:///{work}/mlflow.db", environment=environment) as server:
        yield server.url


@pytest.fixture(scope="module")
def service(work: Path) -> Iterator[str]:
    """The address of a running service."""
    with running(work) as address:
        yield address


@pytest.fixture(scope="module")
def locked(work: Path) -> Iterator[str]:
    """The address of a service of the same model, behind a key."""
    with running(work, PNEUMONIA_API_KEY=KEY) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, service: str) -> Iterator[Open]:
    """Open the page in a context of its own; what it asked for and complained about is judged at the end."""
    opened: list[Visit] = []

    def open_page(url: str = service, **options: Any) -> Visit:
        opened.append(Visit(browser, url, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.close()


def upload(name: str, content: bytes) -> Upload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def phantom(seed: int = 1, size: int = 256) -> Any:
    return render(seed % 2, np.random.default_rng(seed), size)


def film(name: str = "film.png", seed: int = 1) -> Upload:
    return upload(name, png(phantom(seed)))


def photograph() -> Upload:
    """A colour picture of smooth shades, such as no X-ray tube makes."""
    y, x = np.mgrid[0:240, 0:320] / 320
    shades = np.stack([0.5 + 0.5 * np.sin(9 * x + 2), 0.5 + 0.5 * np.cos(7 * y + x), 1 - y], axis=-1)
    return upload("photograph.jpeg", jpeg((255 * shades).astype(np.uint8)))


def text() -> Upload:
    return upload("notes.txt", b"no picture at all")


def of(answer: dict[str, Any], **changes: Any) -> Callable[[Route], None]:
    """Let the service answer, and change what it says about the one file."""

    def handle(route: Route) -> None:
        found = route.fetch()
        document = found.json()
        document["results"][0] |= answer | changes
        route.fulfill(response=found, body=json.dumps(document))

    return handle


def test_a_radiograph_is_answered(visit: Open) -> None:
    seen = visit().open()
    card = seen.upload(film())
    answer = seen.page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    assert any(name.endswith("/v1/predict") for name in answer)
    assert card.locator("h3").inner_text() == "film.png"
    decision = card.locator(".decision")
    words = {"PNEUMONIA": "Classified as pneumonia", "NORMAL": "Classified as normal"}
    assert decision.inner_text() == words[str(decision.get_attribute("data-decision"))]
    assert "probability of pneumonia" in card.locator(".probability").inner_text()
    label = str(card.locator(".bar").get_attribute("aria-label"))
    assert label.startswith("Probability ")
    assert "threshold" in label
    assert "Answered in" in card.locator(".timing").inner_text()
    assert drawn(card.locator(".base"))
    expect(seen.page.locator("#status")).to_contain_text("film.png: Classified as")
    expect(seen.page.locator(".notice")).to_be_in_viewport()


def test_the_name_of_a_file_is_not_sent_and_is_no_markup(visit: Open) -> None:
    seen = visit().open()
    name = "<img src=x onerror=document.body.remove()>.png"
    card = seen.upload(film(name))
    assert card.locator("h3").inner_text() == name
    sent = [request for request in seen.requests if request.url.endswith("/v1/predict")]
    assert len(sent) == 1
    assert b"onerror" not in (sent[0].post_data_buffer or b"")
    assert b"onerror" not in json.dumps(sent[0].headers).encode()


def test_a_dicom_is_drawn_by_the_service(visit: Open) -> None:
    seen = visit().open()
    content = dicom(phantom().astype(np.uint16) * 16, BitsStored=12, HighBit=11, Modality="DX", ViewPosition="PA")
    card = seen.upload(upload("film.dcm", content))
    expect(card.locator(".base")).to_be_visible()
    assert drawn(card.locator(".base"))
    assert any("view=image" in request.url for request in seen.requests)


def test_a_refused_dicom_is_drawn_too(visit: Open) -> None:
    seen = visit().open()
    problem = {"status": 422, "title": "Refused", "code": "body_part", "reason": "shows a hand; give a chest"}
    seen.page.route("**/v1/predict", lambda route: route.fulfill(status=422, json=problem))
    card = seen.upload(upload("hand.dcm", dicom(phantom())), state=REFUSED)
    expect(card).to_contain_text("another part of the body than the chest")
    expect(card).to_contain_text("shows a hand; give a chest")
    expect(card.locator(".base")).to_be_visible()


def test_an_inverted_radiograph_is_shown_the_right_way_round(visit: Open) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", of({"checks": {"inverted": True, "of_tomorrow": "words"}}))
    card = seen.upload(film())
    assert card.locator(".base").evaluate("image => getComputedStyle(image).filter") == "invert(1)"
    found = card.locator(".checks dl > div")
    assert found.all_inner_texts() == ["Inverted\nyes", "Of tomorrow\nwords"]


def test_a_photograph_is_refused_in_words(visit: Open) -> None:
    seen = visit().open()
    card = seen.upload(photograph(), state=REFUSED)
    assert card.locator(".decision").inner_text() == "Refused"
    expect(card).to_contain_text("does not look like a radiograph")
    assert card.locator(".probability").count() == 0
    assert card.locator("input[type=range]").is_hidden()
    seen.page.get_by_role("button", name="Français").click()
    expect(card).to_contain_text("Cela ne ressemble pas à une radiographie")


def test_a_text_is_refused_as_unreadable(visit: Open) -> None:
    card = visit().open().upload(text(), state=REFUSED)
    expect(card).to_contain_text("cannot be read as a radiograph")
    expect(card).to_contain_text("No picture can be shown")


def test_a_code_that_the_page_does_not_know_is_told_in_the_services_words(visit: Open) -> None:
    seen = visit(locale="fr-FR").open()
    problem = {"status": 422, "title": "Refused", "code": "of_tomorrow", "reason": "is of tomorrow; wait a day"}
    seen.page.route("**/v1/predict", lambda route: route.fulfill(status=422, json=problem))
    card = seen.upload(film(), state=REFUSED)
    expect(card.locator("[lang=en]")).to_have_text("It is of tomorrow; wait a day.")


def test_the_heat_map_fades_in_by_the_keyboard(visit: Open) -> None:
    seen = visit().open()
    card = seen.upload(film())
    assert not any("view=overlay" in request.url for request in seen.requests)  # computed only for those who look
    slider = seen.slide(card, 10)
    cover = card.locator(".cover")
    expect(cover).to_be_visible()
    assert slider.get_attribute("aria-valuetext") == "heat map at 50%"
    assert cover.evaluate("image => getComputedStyle(image).opacity") == "0.5"
    assert drawn(cover)
    assert cover.bounding_box() == card.locator(".base").bounding_box()
    seen.slide(card, -10)
    assert slider.get_attribute("aria-valuetext") == "radiograph alone"
    assert sum("view=overlay" in request.url for request in seen.requests) == 1


def test_a_heat_map_that_fails_is_told_and_asked_for_again(visit: Open) -> None:
    seen = visit().open()
    card = seen.upload(film())
    fails = {"status": 500, "title": "Internal Server Error"}
    seen.page.route("**/v1/explain*", lambda route: route.fulfill(status=500, json=fails))
    seen.slide(card, 1)
    expect(card.locator(".blend")).to_contain_text("No heat map: The service has failed")
    seen.page.unroute("**/v1/explain*")
    seen.slide(card, 1)
    expect(card.locator(".cover")).to_be_visible()
    assert all(each.endswith("500 (Internal Server Error)") for each in seen.complaints)
    seen.complaints.clear()


def test_unlike_the_training_images_comes_before_the_probability(visit: Open) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", of({"familiar": False, "distance_percentile": 99.62}))
    card = seen.upload(film())
    text = card.inner_text()
    assert "farther from them than 99.6%" in text
    assert text.index("Unlike the images") < text.index("probability of pneumonia")
    expect(seen.page.locator("#status")).to_contain_text("Unlike the images that the model learnt from.")


def test_an_age_that_was_not_learnt_from_is_told_before_the_probability(visit: Open) -> None:
    seen = visit(locale="fr-FR").open()
    notes = ["the patient is 62 years old; the model learnt from patients of 1 to 5.5 years", "a note of tomorrow"]
    seen.page.route("**/v1/predict", of({"familiar": False, "distance_percentile": 12.0, "notes": notes}))
    card = seen.upload(film())
    told = card.locator(".unfamiliar li")
    assert told.all_inner_texts() == [
        "Le patient a 62 ans\u202f; le modèle a appris sur des patients de 1 à 5,5 ans",
        "A note of tomorrow",
    ]
    assert [each.get_attribute("lang") for each in told.all()] == [None, "en"]
    assert "%" not in card.locator(".unfamiliar").inner_text()
    assert card.locator(".notes").count() == 0
    text = card.inner_text()
    assert text.index("62 ans") < text.index("probabilité de pneumonie")


@pytest.mark.parametrize(
    ("probability", "threshold", "shown"),
    [
        (0.0, 0.5, ("< 0.1%", "50.0%")),
        (1.0, 0.5, ("> 99.9%", "50.0%")),
        (0.41368, 0.41372, ("41.368%", "41.372%")),
        (0.9312, 0.4137, ("93.1%", "41.4%")),
    ],
)
def test_a_probability_claims_no_certainty(
    visit: Open, probability: float, threshold: float, shown: tuple[str, str]
) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", of({"probability": probability, "threshold": threshold, "familiar": True}))
    card = seen.upload(film())
    assert card.locator(".probability strong").inner_text() == shown[0]
    assert card.locator(".threshold-label").inner_text() == f"threshold {shown[1]}"


def test_french_is_the_browsers_language_or_the_switch(visit: Open) -> None:
    french = visit(locale="fr-CA").open()
    assert french.page.locator("html").get_attribute("lang") == "fr"
    expect(french.page.get_by_role("heading", level=1)).to_have_text("Pneumonie sur radiographies thoraciques")
    expect(french.page.locator(".notice")).to_contain_text("pas un dispositif médical")
    assert french.page.title() == "Pneumonie sur radiographies thoraciques"
    card = french.upload(film())
    assert card.locator(".decision").inner_text() in ("Classée pneumonie", "Classée normale")
    seen = visit(locale="de-DE").open()
    assert seen.page.locator("html").get_attribute("lang") == "en"
    card = seen.upload(film())
    seen.page.get_by_role("button", name="Français").click()
    assert card.locator(".decision").inner_text() in ("Classée pneumonie", "Classée normale")
    seen.open()
    assert seen.page.locator("html").get_attribute("lang") == "fr"
    assert seen.page.get_by_role("button", name="Français").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
def test_a_narrow_screen_does_not_scroll_sideways(visit: Open, locale: str) -> None:
    seen = visit(locale=locale, viewport={"width": 360, "height": 740}).open()
    name = f"{'film_of_a_very_long_name' * 6}.png"
    seen.upload(film(name), text(), state=REFUSED)
    seen.page.locator(ANSWERED).wait_for()
    seen.page.locator("summary").evaluate_all("found => found.forEach(each => each.click())")
    assert seen.page.evaluate("document.documentElement.scrollWidth") == 360
    seen.page.mouse.wheel(0, 900)
    expect(seen.page.locator(".notice")).to_be_in_viewport()


@pytest.mark.parametrize("locale", ["en-GB", "fr-FR"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Open, scheme: str, locale: str) -> None:
    seen = visit(locale=locale, color_scheme=scheme, reduced_motion="reduce").open()
    seen.page.route("**/v1/predict", of({"familiar": False, "distance_percentile": 99.9}), times=1)
    seen.upload(film())
    seen.upload(text(), state=REFUSED)
    seen.upload(film("second.png", 2))
    seen.page.locator("summary").evaluate_all("found => found.forEach(each => each.click())")
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 20, 24)"
    assert dark == (scheme == "dark")
    found = Axe().run(seen.page)
    assert found.violations_count == 0, found.generate_report()


def test_samples_of_a_model_trained_on_phantoms(visit: Open) -> None:
    seen = visit().open()
    banner = seen.page.locator("#phantom")
    expect(banner).to_contain_text("This model was trained on phantoms")
    seen.page.get_by_role("button", name="Sample phantom 2").click()
    card = seen.page.locator(ANSWERED)
    expect(card).to_contain_text("it means nothing for a real radiograph")


def test_the_models_card(visit: Open) -> None:
    seen = visit().open()
    card = seen.page.locator("#model")
    for words in ("How well it does", "What it learnt from", "Its limits", "Details"):
        expect(card).to_contain_text(words)
    expect(card.locator(".identity")).to_have_text(f"{NAME} version 1")
    expect(card.locator(".scores").first).to_contain_text("AUROC\n0.930 0.880 to 0.970", use_inner_text=True)
    expect(card).to_contain_text("20 normal, 30 with pneumonia")
    assert card.locator(".limits li").count() >= 2


def test_the_card_follows_the_champion(visit: Open) -> None:
    seen = visit().open()
    seen.page.route("**/v1/predict", of({"version": "8"}))
    seen.page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | {"version": "8"}))
    card = seen.upload(film())
    expect(card.locator(".timing")).to_contain_text("version 8")
    expect(seen.page.locator("#served")).to_have_text(f"{NAME} · version 8")
    expect(seen.page.locator("#status")).to_have_text("The champion has changed: version 8 answers from now on.")


@pytest.mark.parametrize(("synthetic", "profile"), [(True, "phantom"), (False, "full"), (False, "fast")])
def test_the_cards_sentences_are_translated(visit: Open, synthetic: bool, profile: str) -> None:
    record = SimpleNamespace(phantom=synthetic, config={"profile": profile}, preprocess=SimpleNamespace(size=160))
    model = cast(ServedModel, SimpleNamespace(record=record))
    sentences = {"limits": model_card.limits(model), "warnings": model_card.warnings(model)}
    seen = visit(locale="fr-FR")
    seen.page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | sentences))
    seen.open()
    shown = seen.page.locator(".limits li, .warnings li")
    expect(shown).to_have_count(len(sentences["limits"]) - 1 + len(sentences["warnings"]))  # the notice stands above
    assert seen.page.locator(".limits [lang=en], .warnings [lang=en]").count() == 0
    expect(seen.page.locator(".limits")).to_contain_text("160 × 160")


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


def test_every_sentence_is_there_in_both_languages(visit: Open) -> None:
    seen = visit().open()
    shapes = seen.page.evaluate(
        """async () => {
            const shape = (words, at = "") => Object.entries(words).flatMap(([name, found]) =>
                typeof found === "object" ? shape(found, `${at}${name}.`)
                : [`${at}${name}: ${typeof found}${typeof found === "function" ? found.length : ""}`]);
            const [en, fr] = await Promise.all(["en", "fr"].map((tag) => import(`/static/words.${tag}.js`)));
            return [shape(en.default), shape(fr.default).filter((name) => !name.startsWith("sentences."))];
        }"""
    )
    assert shapes[0] == shapes[1]
