"""What the page shows of the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from playwright.sync_api import expect

from pneumonia.inference.served_model import ServedModel
from pneumonia.serving import card as model_card
from tests.support.browser import (
    ANSWERED,
    KEY,
    Open,
    film,
    of,
)
from tests.support.serving import NAME

pytestmark = pytest.mark.integration


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


def test_the_dossier_is_linked_where_there_is_one(visit: Open) -> None:
    seen = visit().open()
    expect(seen.page.get_by_role("link", name="Its dossier")).to_have_count(0)
    seen.page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | {"dossier": True}))
    seen.page.reload()
    link = seen.page.get_by_role("link", name="Its dossier")
    expect(link).to_have_attribute("href", "dossier")


def test_the_dossier_is_saved_where_there_is_a_key(visit: Open, locked: str) -> None:
    seen = visit(locked)
    seen.page.route("**/v1/model", lambda route: route.fulfill(json=route.fetch().json() | {"dossier": True}))
    seen.page.route("**/dossier", lambda route: route.fulfill(body="<title>Dossier</title>", content_type="text/html"))
    seen.page.goto(seen.url)
    seen.page.evaluate(f"sessionStorage.setItem('pneumonia.key', '{KEY}')")
    seen.page.reload()
    with seen.page.expect_download() as begun:
        seen.page.get_by_role("link", name="Its dossier").click()
    assert begun.value.suggested_filename == f"dossier-{NAME}-1.html"


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
