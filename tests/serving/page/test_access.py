"""The page for everybody: languages, narrow screens, light and dark, assistive technology."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.browser import (
    ANSWERED,
    REFUSED,
    Open,
    film,
    of,
    text,
)

pytestmark = pytest.mark.integration


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


def test_every_sentence_is_there_in_both_languages(visit: Open) -> None:
    seen = visit().open()
    shapes = seen.page.evaluate(
        """async () => {
            const shape = (words, at = "") => Object.entries(words).flatMap(([name, found]) =>
                typeof found === "object" ? shape(found, `${at}${name}.`)
                : [`${at}${name}: ${typeof found}${typeof found === "function" ? found.length : ""}`]);
            const read = (file) => Promise.all(["en", "fr"].map((tag) => import(`/static/${file}.${tag}.js`)));
            return Promise.all(["words", "monitor"].map(async (file) => (await read(file)).map((words) =>
                shape(words.default).filter((name) => !name.startsWith("sentences.")))));
        }"""
    )
    (english, french), (of_monitor, in_french) = shapes
    assert english == french
    assert of_monitor == in_french
    tops = [{re.split("[.:]", name)[0] for name in found} for found in (english, of_monitor)]
    assert not tops[0] & tops[1], "the words of monitoring come on top of the others"


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
