"""The page of downloads."""

from __future__ import annotations

from provisioner.store.file_cache import Note
from tests.browser.demo_state import discovered
from tests.ui_browser import opened


async def test_who_downloads_is_shown_with_how_far_it_is(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        turns = demo.parts.turns
        turns.ask(story.machine.macs[0], "10.1.2.3", ("/files/big",))
        turns.progress(turns.begin("10.1.2.3", "/files/big", 200_000_000, 0), 50_000_000)
        text = await browser.get("/downloads")
        assert '<a href="/machines/n1">n1</a>' in text and "/files/big" in text
        assert "50 MB" in text and "of 200 MB" in text and "of 100 turns taken" in text


async def test_nothing_is_said_to_be_nothing(tmp_path):
    async with opened(tmp_path) as (_, browser):
        text = await browser.get("/downloads")
        for words in ("Nobody downloads.", "Nobody waits."):
            assert words in text


async def test_the_network_page_leads_there(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert 'href="/downloads"' in await browser.get("/leases")


async def test_it_is_for_operators(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        assert "Downloads" not in await browser.get("/downloads", 303)


def keep(demo, path, content):
    """A copy of a file of the repository there is."""
    cache = demo.parts.repositories.cache
    cache.open()
    part = cache.begin(len(content))
    cache.write(part, content)
    cache.keep(part, "debian", Note(path, len(content), '"e"', "", "", "", 0))
    return cache


async def test_copies_of_a_repository_are_shown_and_removed_after_a_question(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        cache = keep(demo, "a.deb", bytes(3_000_000))
        text = await browser.get("/downloads")
        assert "http://deb.example/debian/" in text and "3 MB" in text and 'action="/repositories/debian/clear"' in text
        asked = await browser.post("/repositories/debian/clear", {})
        assert asked.status == 200 and "Remove the copies of debian?" in await asked.text() and cache.size > 0
        done = await browser.post("/repositories/debian/clear", {"confirmed": "yes"})
        assert (done.status, done.headers["Location"], cache.size) == (303, "/downloads", 0)
        assert 'action="/repositories/debian/clear"' not in await browser.get("/downloads")


async def test_copies_of_a_repository_that_there_is_not_are_not_asked_about(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert (await browser.post("/repositories/fedora/clear", {"confirmed": "yes"})).status == 404
