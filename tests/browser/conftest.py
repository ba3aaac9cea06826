"""A server, a browser, and a visitor who is logged in; whatever the browser complained of fails the test.

One browser serves all tests of a run, so all of them run on one event loop; each has its own server and visitor.
"""

import pytest
import pytest_asyncio

from tests.browser.demo_state import PASSWORD, serving
from tests.browser.pages import Visit, browsing, chromium


@pytest.fixture(autouse=True)
def _chromium():
    chromium()


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path):
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
def demo(server):
    return server[0]


@pytest.fixture
def url(server):
    return server[1]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_browser():
    async with browsing() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def browser(server, shared_browser):
    yield shared_browser
    for context in shared_browser.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(browser, url):
    visit = await Visit.open(browser, url)
    yield visit
    assert visit.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def visit(stranger):
    await stranger.log_in("admin", PASSWORD)
    await stranger.live()
    return stranger
