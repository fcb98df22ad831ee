"""Somebody at a browser, who notices what should not be."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Response,
    sync_playwright,
)

from tests import servers

PATIENCE = 30_000
PHONE = {"width": 360, "height": 740}
LAPTOP = {"width": 1280, "height": 900}


@contextlib.contextmanager
def open_chromium() -> Iterator[Browser]:
    """The installed Chromium, without a window; nothing is downloaded."""
    program = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium", path=servers.SYSTEM)
    if program is None:
        servers.missing("Chromium", "apt-get install chromium, or set TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


class Person:
    """A page of a browser of its own, and all that was wrong with what it was shown."""

    def __init__(self, browser: Browser, origin: str, **how: Any) -> None:
        self.origin = origin
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(base_url=origin, **{"viewport": LAPTOP, **how})
        self.context.set_default_timeout(PATIENCE)
        self.context.on("request", self._left)
        self.context.on("console", self._told)
        self.context.on("weberror", lambda error: self.complaints.append(f"raised: {error.error}"))
        self.page: Page = self.context.new_page()

    def _left(self, request: Request) -> None:
        self.asked.append(request.url)
        here, there = urlsplit(self.origin), urlsplit(request.url)
        if there.scheme != "data" and (here.scheme, here.netloc) != (there.scheme, there.netloc):
            self.complaints.append(f"asks elsewhere: {request.url}")

    def _told(self, message: ConsoleMessage) -> None:
        """What the browser itself objects to, as against the policy of the page."""
        refused = message.text.startswith("Failed to load resource")
        if refused and message.location["url"] == self.page.url:
            return  # the page itself is an answer that says no
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.page.url if message.page else ''}: {message.text}")

    def go(self, path: str) -> Response:
        """To another page."""
        answer = self.page.goto(path, wait_until="load")
        assert answer is not None
        return answer

    def sign_in(self, token: str) -> None:
        """By the form."""
        self.go("/sign-in")
        self.page.get_by_label("Token", exact=True).fill(token)
        self.page.get_by_label("Token", exact=True).press("Enter")
        self.page.locator("details.who summary").wait_for()

    def sign_out(self) -> None:
        """By the menu under one's name."""
        self.page.locator("details.who summary").click()
        self.press("Sign out")

    def press(self, name: str) -> None:
        """A button, or a link that looks like one."""
        both = self.page.get_by_role("button", name=name, exact=True).or_(
            self.page.get_by_role("link", name=name, exact=True)
        )
        both.first.click()

    def barriers(self, *rules: str) -> list[str]:
        """What axe finds that keeps somebody out, on the page as it is now; all its rules, or these."""
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        found = Axe().run(self.page, options=options).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
            for rule in found
            for node in rule["nodes"]
        ]

    def in_the_dark(self, dark: bool = True) -> None:
        """The same page in the other colours."""
        self.page.emulate_media(color_scheme="dark" if dark else "light")

    def sideways(self) -> int:
        """How many pixels of the page a phone would have to be pushed aside for."""
        self.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        root = "document.documentElement"
        wider = self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
        self.page.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
        return int(wider)
