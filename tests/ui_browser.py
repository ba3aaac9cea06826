"""A browser without JavaScript for tests of the web UI: an HTTP session that is logged in, against a demo server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientResponse, ClientSession, CookieJar

from provisioner.model.access import TokenPurpose
from provisioner.services.http import SESSION_COOKIE
from tests.browser.demo_state import Demo, serving

# What a browser says of a form on our own page.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


class PlainBrowser:
    """Gets pages and posts forms."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def get(self, path: str, status: int = 200) -> str:
        """A page's text; its status must be this one."""
        async with self.session.get(path, allow_redirects=False) as response:
            assert response.status == status, await response.text()
            return await response.text(errors="replace")

    async def answer(self, path: str) -> ClientResponse:
        """The response to a GET, not followed."""
        async with self.session.get(path, allow_redirects=False) as response:
            await response.read()
            return response

    async def post(
        self, path: str, form: dict[str, str] | list[tuple[str, str]], headers: dict[str, str] = OWN_PAGE
    ) -> ClientResponse:
        """The response to a form, not followed."""
        async with self.session.post(path, data=form, headers=headers, allow_redirects=False) as response:
            await response.read()
            return response


@asynccontextmanager
async def opened(folder: Path, *, logged_in: bool = True) -> AsyncIterator[tuple[Demo, PlainBrowser]]:
    """A demo server with nothing in it, and a browser on it."""
    async with serving(folder) as (demo, url), ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as session:
        if logged_in:
            tx = demo.ledger.transaction()
            session.cookie_jar.update_cookies({SESSION_COOKIE: demo.tokens.issue(tx, TokenPurpose.SESSION, "admin")})
            await tx.commit()
        yield demo, PlainBrowser(session)
