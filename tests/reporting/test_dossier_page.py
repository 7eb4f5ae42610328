"""The dossier's page: one file that asks for nothing, in the stated order, with every absence said."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pneumonia.records.dossier import Dossier
from pneumonia.reporting.dossier.page import SECTIONS, page
from tests.support.dossiers import bare, whole
from tests.support.markup import Read

PICTURE = b"\x89PNG\r\n\x1a\n"
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("version", "verdict", "policy", "assessment", "dependence", "cross_validation"), None),
    **dict.fromkeys(("robustness", "environment", "sbom"), None),
    **dict.fromkeys(("aliases", "outside", "openings", "moves", "audit", "shortcut_features", "files", "pictures"), ()),
}


def rendered(dossier: Dossier) -> str:
    return page(dossier, {picture.path: PICTURE for picture in dossier.pictures})


@pytest.fixture(params=["everything", "nothing"])
def text(request: pytest.FixtureRequest) -> str:
    return rendered(whole() if request.param == "everything" else whole(**EMPTY))


def test_the_sections_stand_in_their_order(text: str) -> None:
    read = Read(text)
    assert read.headings == [section.title for section in SECTIONS]
    assert [section.id for section in SECTIONS][:2] == ["card", "weaknesses"], "use first, weaknesses second"
    assert text.index("Metrics on images of other places</h2>") < text.index("Metrics of its own data set</h2>")


def test_it_asks_for_nothing(text: str) -> None:
    read = Read(text)
    assert {tag for tag, _ in read.found}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    for tag, attributes in read.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/png;base64,")
        if tag == "a":
            assert str(attributes["href"]).startswith("#") or attributes["href"] == "sbom.cdx.json"
    assert "url(" not in text
    assert "@import" not in text


def test_every_link_has_its_target_and_every_identifier_is_one(text: str) -> None:
    read = Read(text)
    identifiers = [str(attributes["id"]) for _, attributes in read.found if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = {str(each["href"])[1:] for each in read.all("a") if str(each["href"]).startswith("#")}
    assert targets <= set(identifiers)


def test_tables_and_pictures_say_what_they_are(text: str) -> None:
    read = Read(text)
    assert all(each.get("scope") in ("row", "col") for each in read.all("th"))
    assert len(read.all("caption")) == len(read.all("table"))
    assert all(each.get("alt") for each in read.all("img"))


def test_a_picture_is_in_it() -> None:
    assert rendered(whole()).count("data:image/png;base64,iVBORw0KGgo=") == 1


def test_what_was_not_done_is_said_with_the_command() -> None:
    text = rendered(whole(**EMPTY))
    assert text.count("<strong>Not done.</strong>") >= 9
    assert "pneumonia …" in text


def test_it_is_no_medical_device_and_phantoms_are_named_first() -> None:
    text = rendered(whole(phantom=True))
    body = text[text.index("<body>") :]
    assert body.index("Not a medical device") < body.index("Trained on phantoms") < body.index("<h1>")
    assert "Trained on phantoms" not in rendered(whole())


def test_text_of_others_is_no_markup() -> None:
    hostile = "<script>alert(1)</script>"
    moves = [each.model_copy(update={"why": hostile, "who": '"><img src=x>'}) for each in bare().moves]
    text = rendered(whole(moves=moves, withdrawn=hostile))
    assert hostile not in text
    assert "&lt;script&gt;" in text
    assert Read(text).all("script") == []
    assert all(str(each["src"]).startswith("data:") for each in Read(text).all("img"))


def test_a_picture_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        page(whole(), {})


def test_a_value_stands_with_its_interval() -> None:
    text = rendered(whole())
    assert re.search(r'AUROC</th><td class="n">0\.990</td><td class="n">0\.980 to 0\.995', text)
