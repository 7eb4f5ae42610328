"""What the page shows of a file: answers, pictures, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.support.browser import (
    REFUSED,
    Open,
    drawn,
    film,
    of,
    phantom,
    photograph,
    text,
    upload,
)
from tests.support.images import dicom

pytestmark = pytest.mark.integration


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
