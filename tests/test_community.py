"""What a contributor or a reporter meets first: the pages, the forms, and that no form asks for a patient's image."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS = sorted(path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
"""Elements of a form that GitHub knows, but for uploads."""


def form(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs/delivery.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert len(links) >= 5
    for link in links:
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not link.startswith("https://"):
            assert target.is_file(), link
            assert not anchor or anchor in anchors(target), link


def test_the_contributors_page_names_targets_and_files_that_exist() -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "deployments/deployments.mk").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefiles, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", page)) <= targets
    for name in re.findall(r"\b(?:pneumonia|flows|tests|benchmarks|docs)/[\w/.]*\w", page):
        assert (ROOT / name).exists(), name
    marks = set(re.findall(r"^    \"(\w+): ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert {"integration", "stack", "long", "nightly"} <= marks & set(re.findall(r"`(\w+)`", page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_patients_image_is_to_be_sent(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "radiograph of a patient" in text
    assert "medical device" in text


def test_there_are_the_three_forms_and_no_empty_issue() -> None:
    assert {path.stem for path in FORMS} == {"bug", "data_or_model", "feature"}
    assert form(ROOT / ".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": False}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_takes_and_asks_first_that_no_patient_is_in_it(path: Path) -> None:
    found = form(path)
    assert {"name", "description", "labels", "body"} == set(found)
    names = [part["id"] for part in found["body"] if part["type"] != "markdown"]
    assert len(set(names)) == len(names)
    for part in found["body"]:
        assert part["type"] in KINDS
        assert set(part) <= {"type", "id", "attributes", "validations"}
        assert part["attributes"].get("label") or part["type"] == "markdown"
    consent = next(part for part in found["body"] if part["type"] != "markdown")
    assert (consent["type"], consent["attributes"]["options"][0]["required"]) == ("checkboxes", True)
    assert "image of a patient" in consent["attributes"]["options"][0]["label"]
    assert any(part.get("validations", {}).get("required") for part in found["body"])


def test_the_citation_names_the_project_and_its_data() -> None:
    found = form(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(found)
    assert found["license"] == "MIT"
    assert found["references"][0]["doi"] in (ROOT / "README.md").read_text(encoding="utf-8")
