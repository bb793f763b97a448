"""Somebody who opens the page in a browser, and notes whatever goes wrong there."""

import re
import time
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, FloatRect, Locator, Page, Request, expect

PATIENCE_MS = 30_000
TRAINING_MS = 120_000
STILL_S = 0.5
expect.set_options(timeout=PATIENCE_MS)

#: What Chromium says of answers that tests provoke.
EXPECTED = re.compile(r"Failed to load resource|net::ERR_")

SEVEN = ((80, 60), (200, 60), (120, 230))


class Visitor:
    """Opens pages, each with a memory of its own, and keeps what their consoles complain of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.requests: list[Request] = []

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def open(
        self, url: str, *, width: int = 1280, height: int = 900, theme: Literal["light", "dark"] = "light", **more: Any
    ) -> Page:
        """Open an address and wait until the form is there."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **more)
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        host = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.complaints.append(f"{error.message}\n{error.stack}"))
        page.on("console", self._note)
        page.on("request", lambda request: self._check(request, host))
        page.goto(url)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not EXPECTED.search(message.text):
            self.complaints.append(message.text)

    def _check(self, request: Request, host: str) -> None:
        self.requests.append(request)
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != host:
            self.complaints.append(f"{request.url} is not the service's")


def is_accessible(page: Page) -> bool:
    """Return whether axe finds nothing; print what it finds."""
    found = Axe().run(page)
    if found.violations_count:
        print(found.generate_report())
    return int(found.violations_count) == 0


def points(page: Page, chart: str = "#chart") -> int:
    """Return how many points a chart shows, as Plotly has them: those of the lines, not those at the end."""
    return int(
        page.evaluate(
            """chart => (document.querySelector(chart).data ?? [])
                .filter(trace => trace.hoverinfo !== "skip" && trace.showlegend !== false)
                .reduce((sum, trace) => sum + trace.x.length, 0)""",
            chart,
        )
    )


def wait_for_points(page: Page, at_least: int) -> None:
    page.wait_for_function(
        "least => Number(document.querySelector('#chart').dataset.points ?? 0) >= least",
        arg=at_least,
        timeout=TRAINING_MS,
    )


def wait_for_status(page: Page, status: str) -> None:
    page.wait_for_selector(f"#watch-status[data-status={status}]", timeout=TRAINING_MS)


def draw(page: Page, strokes: tuple[tuple[int, int], ...] = SEVEN) -> None:
    """Draw with the pointer; places are in the pad's own 280 × 280."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = still(pad)
    first, *others = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in strokes]
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def still(element: Locator) -> FloatRect:
    """Return where an element is once it has stopped to move: what comes above it pushes it down."""
    before, since = None, time.monotonic()
    end = since + PATIENCE_MS / 1_000
    while before is None or time.monotonic() < since + STILL_S:
        assert time.monotonic() < end, "it does not stop to move"
        box = element.bounding_box()
        assert box is not None
        if box != before:
            before, since = box, time.monotonic()
        element.page.wait_for_timeout(50)
    return before


def answers(page: Page) -> dict[tuple[str, str], int]:
    """Wait for four answers and return the digits, by arm and statistics."""
    page.wait_for_function("() => document.querySelectorAll('#answers .answer').length === 4")
    cards: list[Locator] = page.locator("#answers .answer").all()
    return {(said(card, "data-arm"), said(card, "data-statistics")): int(said(card, "data-digit")) for card in cards}


def said(element: Locator, attribute: str) -> str:
    value = element.get_attribute(attribute)
    assert value is not None
    return value
