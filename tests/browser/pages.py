"""The web UI's pages as a test sees them: a real Chromium, elements found by `data-testid` only."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, async_playwright, expect

from tests.peers.programs import missing

# On a host that emulates machines meanwhile a page may take longer than Playwright's five seconds.
expect.set_options(timeout=60_000)

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """The browser's program. Without one, a skip; an error where tests must not be skipped."""
    found = which("chromium")
    return found or missing("there is no chromium; install Debian's package of that name")


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser."""
    program = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


class Visit:
    """One visitor's page on a server. What the browser complains of is in `complaints`."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @classmethod
    async def open(cls, browser: Browser, url: str, **context: Any) -> Visit:
        """A new visitor; `context` is what Playwright's `new_context` takes."""
        made: BrowserContext = await browser.new_context(**{"viewport": DESKTOP, **context})
        return cls(await made.new_page(), url)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def find(self, testid: str, **attributes: str) -> Locator:
        """The elements with this test id, and these `data-` attributes."""
        more = "".join(f'[data-{name}="{value}"]' for name, value in attributes.items())
        return self.page.locator(f'[data-testid="{testid}"]{more}')

    async def log_in(self, username: str, password: str, path: str = "/") -> None:
        """Through the form, to this page."""
        await self.page.goto(self.url + path)
        await self.find("username").fill(username)
        await self.find("password").fill(password)
        await self.find("log-in").click()

    async def go(self, path: str) -> None:
        """Open a page and wait until it is live, if it is of those that change."""
        await self.page.goto(self.url + path)
        if await self.find("live").count():
            await self.live()

    async def live(self) -> None:
        """Wait until events arrive."""
        await expect(self.find("live")).to_have_attribute("data-live", "on")

    # --- machines ---------------------------------------------------------------------------------------------

    def row(self, machine: str) -> Locator:
        """A machine's line in the list."""
        return self.find("machine-row", name=machine)

    async def open_machine(self, machine: str, tab: str = "") -> None:
        """A machine's page."""
        await self.go(f"/machines/{machine}" + (f"/{tab}" if tab else ""))

    async def wait_for_state(self, state: str, seconds: float = 10) -> None:
        """On a machine's or job's page: until its head shows this state."""
        head = self.page.locator('[data-testid="machine-header"], [data-testid="job-header"]')
        await expect(head).to_have_attribute("data-state", state, timeout=seconds * 1000)

    async def assign(self, workflow: str, disk: str = "") -> None:
        """On a machine's page: give it a workflow, with leave to erase a disk (its value in the form) if named."""
        await self.find("assign").click()
        await self.find("workflow-select").select_option(workflow)
        if disk:
            await self.find("disk-select").select_option(disk)
        await self.find("assign-submit").click()
        if disk:
            await self.confirm()

    async def power(self, action: str, *, confirm: bool = False) -> None:
        """On a machine's page: ask for a power action, saying yes where it asks back."""
        await self.find("power-menu").locator("summary").click()
        await self.find(f"action-{action}").click()
        if confirm:
            await self.confirm()

    async def confirm(self) -> None:
        """Say yes in the dialog."""
        await expect(self.find("confirm")).to_be_visible()
        await self.find("confirm-yes").click()

    async def notice(self, tone: str = "good") -> str:
        """What the page says of what was just done; `tone` is good or bad."""
        shown = self.find(f"notice-{tone}").last
        await expect(shown).to_be_visible()
        return (await shown.locator("p").inner_text()).strip()

    # --- logs -------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Locator:
        """The text of the page's log."""
        return self.find("log").locator("pre")

    async def wait_for_log(self, text: str, seconds: float = 10) -> None:
        """Until the log shows this."""
        await expect(self.log).to_contain_text(text, timeout=seconds * 1000)

    async def at_end_of_log(self) -> bool:
        """Whether the log's last line is in view."""
        return bool(await self.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight < 40"))

    # --- looks ------------------------------------------------------------------------------------------------

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    async def screenshot(self, name: str, *, whole: bool = False) -> Path:
        """A picture for people, among those kept of the run."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"
        await self.page.screenshot(path=path, full_page=whole)
        return path
