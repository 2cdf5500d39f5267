"""Headless Chromium of the operating system, driven by Playwright: tabs that note what they complain of and what they ask for."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 60_000
"""Far above what anything here takes: a busy machine must not fail a test."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; `apt-get install chromium`, as .ci/run does, and this runs too")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield running
        running.close()


class Tab:
    """One tab."""

    def __init__(self, browser: Browser, width: int = 1400, scheme: str = "light", offline: bool = True) -> None:
        viewport = {"width": width, "height": 800}
        self.context = browser.new_context(offline=offline, viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def quiet(self, own: str) -> None:
        """No complaint, no request but for what lies at an address of its own and what stands in the page, and no text has become code."""
        assert not self.said, self.said
        others = [url for url in self.asked if not url.startswith((own, "data:", "blob:", "about:"))]
        assert not others, others
        assert self.page.evaluate("window.broken") is None
        self.context.close()
