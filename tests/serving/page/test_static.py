"""The page's files: a strict policy holds for them, and they name no other host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pneumonia.serving

STATIC = Path(pneumonia.serving.__file__).parent / "static"
FILES = sorted(STATIC.iterdir())
PAGES = ("index.html", "monitor.html")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_other_host_is_named(file: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", file.read_text(encoding="utf-8"))
    assert set(addresses) <= {"http://www.w3.org"}, "SVG's namespace is no request; all else is"


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_inline(name: str) -> None:
    page = (STATIC / name).read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", page)
    assert re.findall(r"<script\b[^>]*>(.*?)</script>", page, re.DOTALL) == [""]


@pytest.mark.parametrize("file", [each for each in FILES if each.suffix == ".js"], ids=lambda file: file.name)
def test_no_script_makes_markup_or_code_of_text(file: Path) -> None:
    markup = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    )
    assert [word for word in markup if word in file.read_text(encoding="utf-8")] == []


def test_what_is_named_is_there_and_no_more() -> None:
    named = set(PAGES)
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        named |= set(re.findall(r'"static/([\w.-]+)"', text)) | set(re.findall(r'from "\./([\w.-]+)"', text))
    assert named == {file.name for file in FILES}
