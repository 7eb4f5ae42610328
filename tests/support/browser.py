"""The service's page in Debian's Chromium, for tests: what is given to it, what it asks for and complains about."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from pneumonia.data.phantom.dataset import render
from tests.support.images import jpeg, png

ANSWERED = "[data-state=answered]"
REFUSED = "[data-state=refused]"
FAILED = "[data-state=failed]"
OF_THE_ANSWER = re.compile(r"Failed to load resource: the server responded with a status of (401|422|503)")
"""Chromium writes these into its console at such a status; these are answers, not faults of the page."""


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


KEY = "right-and-long-enough"
Upload = dict[str, Any]
Open = Callable[..., "Visit"]
"""Opens the page in a context of its own: the fixture `visit`."""


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
