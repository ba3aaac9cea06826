"""The page of downloads."""

from __future__ import annotations

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
        for words in ("Nobody downloads.", "Nobody waits.", "No install repository is passed on."):
            assert words in text


async def test_the_network_page_leads_there(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert 'href="/downloads"' in await browser.get("/leases")


async def test_it_is_for_operators(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        assert "Downloads" not in await browser.get("/downloads", 303)
