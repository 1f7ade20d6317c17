"""Debian's Chromium, and a visitor who notes what should not happen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class Visitor:
    """A browser page that notes what it should not see: foreign requests, console errors, uncaught exceptions."""

    page: Page
    site: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def sign_in(self) -> None:
        """Use a fresh one-time link."""
        self.page.goto(self.site.login_link())

    def open(self, path: str) -> None:
        """Go to a page of the site."""
        self.page.goto(self.site.url + path)

    def drawn(self, selector: str = "[data-figure]") -> None:
        """Wait until a plot is drawn."""
        self.page.wait_for_selector(f"{selector}[data-drawn]", timeout=15_000)

    def points(self, selector: str = "[data-figure]") -> int:
        """Count the points that the plot shows."""
        self.drawn(selector)
        return self.page.locator(f"{selector} .scatterlayer .points path").count()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"no browser: {CHROMIUM} is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def visitor(context: BrowserContext, site: Any) -> Visitor:
    visitor = Visitor(context.new_page(), site)
    visitor.page.on("request", lambda request: visitor.requests.append(request.url))
    visitor.page.on(
        "console", lambda message: visitor.problems.append(message.text) if message.type == "error" else None
    )
    visitor.page.on("pageerror", lambda error: visitor.problems.append(str(error)))
    return visitor
