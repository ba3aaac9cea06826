"""A server, a browser, and a visitor who is logged in; whatever the browser complained of fails the test."""

import pytest

from tests.browser.demo_state import PASSWORD, serving
from tests.browser.pages import Visit, browsing, chromium


@pytest.fixture(autouse=True)
def _chromium():
    chromium()


@pytest.fixture
async def server(tmp_path):
    async with serving(tmp_path) as running:
        yield running


@pytest.fixture
def demo(server):
    return server[0]


@pytest.fixture
def url(server):
    return server[1]


@pytest.fixture
async def browser(server):
    async with browsing() as browser:
        yield browser


@pytest.fixture
async def stranger(browser, url):
    visit = await Visit.open(browser, url)
    yield visit
    assert visit.complaints == []


@pytest.fixture
async def visit(stranger):
    await stranger.log_in("admin", PASSWORD)
    await stranger.live()
    return stranger
