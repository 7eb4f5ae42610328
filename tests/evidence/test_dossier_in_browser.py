"""The dossier in Debian's Chromium: no request, nothing that its policy refuses, accessible, on a narrow screen too."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from pneumonia.reporting.dossier.page import SECTIONS, page
from tests.support.dossiers import whole
from tests.support.images import picture, png

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dossier = whole(outside=(), robustness=None, cross_validation=None)
    path = tmp_path_factory.mktemp("dossier") / "dossier.html"
    path.write_text(page(dossier, {each.path: png(picture()) for each in dossier.pictures}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_it_opens_alone_and_axe_finds_nothing(browser: Browser, file: Path, scheme: str, width: int) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})  # type: ignore[arg-type]
    context.set_offline(True)
    tab, asked, said = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.goto(file.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert said == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "tables scroll, the page does not"
    assert tab.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
    first = tab.locator("#weaknesses" if width > 1000 else "#count").bounding_box()
    assert first is not None
    assert first["y"] < 700, "the weaknesses begin on the first screen, on a narrow one their number"
    for section in SECTIONS:
        assert tab.locator(f"#{section.id}").is_visible()
    tab.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()
    context.close()
