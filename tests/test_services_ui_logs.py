"""The page that looks for a text in all logs."""

import re
from urllib.parse import urlencode

import pytest

from tests.browser.demo_state import discovered
from tests.ui_browser import opened


async def told(demo):
    """Two machines with a job each and a line with a needle in it."""
    stories = [await discovered(demo, number, f"n{number}", 5) for number in (1, 2)]
    for story in stories:
        await story.assign("hello")
        await story.begin()
        await story.write(f"first\nthe \x1b[31mNeedle\x1b[0m <b> of {story.machine.name}\nlast\n")
    return stories


async def search(browser, status=200, **query):
    return await browser.get(f"/logs?{urlencode(query)}", status)


async def test_without_a_text_there_is_only_the_form(tmp_path):
    async with opened(tmp_path) as (_, browser):
        text = await browser.get("/logs")
        assert 'name="q"' in text and "search-summary" not in text


async def test_lines_are_found_and_lead_to_their_place_in_the_log(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        stories = await told(demo)
        text = await search(browser, q="needle")
        assert "2 lines in 2 logs" in text
        assert text.count("<mark>Needle</mark> &lt;b&gt; of n") == 2 and "\x1b" not in text
        for story in stories:
            (offset,) = re.findall(rf"/jobs/{story.job.id}\?at=(\d+)#hit", text)
            page = await browser.get(f"/jobs/{story.job.id}?at={offset}")
            assert f'class="log-hit">the Needle &lt;b&gt; of {story.machine.name}' in page


async def test_a_search_is_narrowed_by_machine_task_state_and_case(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await told(demo)
        assert "1 line in 1 log" in await search(browser, q="needle", machine="n2")
        assert "2 lines" in await search(browser, q="needle", task="hello", state="running")
        assert "No log has this text." in await search(browser, q="needle", task="inventory")
        assert "No log has this text." in await search(browser, q="needle", state="failed")
        assert "No log has this text." in await search(browser, q="needle", case="true")


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"machine": "nobody"}, 404, "There is no machine"),
        ({"state": "lost"}, 422, "there is: "),
        ({"q": "x" * 201}, 422, "longer than 200"),
    ],
)
async def test_what_cannot_be_searched_is_said_above_the_form(tmp_path, query, status, message):
    async with opened(tmp_path) as (_, browser):
        text = await search(browser, status, **{"q": "x", **query})
        assert message in text and 'data-testid="search-error"' in text and 'name="q"' in text


async def test_the_place_in_a_log_must_be_a_number(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        (story, _) = await told(demo)
        await browser.get(f"/jobs/{story.job.id}?at=x", 400)
        assert "log-hit" not in await browser.get(f"/jobs/{story.job.id}?at=99999")
