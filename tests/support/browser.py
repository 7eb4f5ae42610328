"""The service's page in Debian's Chromium, for tests: what it asks for, and what it complains about."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect, sync_playwright

ANSWERED = "[data-state=answered]"
REFUSED = "[data-state=refused]"
FAILED = "[data-state=failed]"
OF_THE_ANSWER = re.compile(r"Failed to load resource: the server responded with a status of (401|422|503)")
"""Chromium writes these into its console whenever a page is told so; they are answers, not faults of the page."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium without a window; skip where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that is open in a context of its own, and what happened on it.

    Attributes:
        page: of the browser.
        requests: all that it has made, to the service or elsewhere.
        complaints: errors and warnings of its console, a violated Content-Security-Policy among them.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context: BrowserContext = browser.new_context(**({"locale": "en-GB"} | options))
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("console", lambda message: self._heard(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self) -> Visit:
        """Open the page, and wait until the model's card is there."""
        self.page.goto(self.url)
        expect(self.page.locator("#model-card .identity")).to_be_visible()
        return self

    def upload(self, *files: Path | dict[str, Any], state: str = ANSWERED) -> Locator:
        """Choose files, and return the first card of this state once there is one."""
        self.page.set_input_files("#files", list(files))  # type: ignore[arg-type]
        card = self.page.locator(state).first
        card.wait_for()
        return card

    def slide(self, card: Locator, steps: int) -> Locator:
        """Move a card's slider by its keys, and return it."""
        slider = card.locator("input[type=range]")
        slider.focus()
        for _ in range(abs(steps)):
            self.page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
        return slider

    def close(self) -> None:
        """Close the context, and hold the page to asking nobody else and to breaking no rule."""
        self.context.close()
        elsewhere = [request.url for request in self.requests if not request.url.startswith((self.url, "blob:"))]
        assert not elsewhere, f"requests to another place: {elsewhere}"
        assert not self.complaints, f"{self.complaints}"

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not OF_THE_ANSWER.match(message.text):
            self.complaints.append(message.text)


def drawn(image: Locator) -> bool:
    """Return whether an image is shown and has pixels."""
    return bool(image.evaluate("image => image.complete && image.naturalWidth > 0 && !image.hidden"))
