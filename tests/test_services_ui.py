"""The pages of the web UI as a browser without JavaScript gets them."""

import re

import pytest

from provisioner.model.machines import Machine
from tests.browser.demo_state import discovered, fill
from tests.ui_browser import opened

TABS = ("", "/timeline", "/jobs", "/inventory", "/params", "/raw")


async def test_an_empty_server_says_how_machines_appear(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert "No machine has been seen yet." in await browser.get("/")
        for path in ("/jobs", "/leases", "/health"):
            await browser.get(path)


async def test_every_page_of_a_full_rack_can_be_shown(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        told = await fill(demo)
        for machine in demo.ledger.read_all(Machine):
            for tab in TABS:
                assert machine.name in await browser.get(f"/machines/{machine.name}{tab}")
        for story in told.values():
            assert story.job.task in await browser.get(f"/jobs/{story.job.id}")


async def test_every_content_object_can_be_shown(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        for kind, objects in demo.catalog.view.items():
            await browser.get(f"/content/{kind}")
            for name in objects:
                assert name in await browser.get(f"/content/{kind}/{name}")


async def test_no_link_of_any_page_leads_nowhere(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await fill(demo)
        seen, waiting = set(), ["/"]
        while waiting and len(seen) < 400:
            path = waiting.pop()
            seen.add(path)
            text = await browser.get(path)
            links = set(re.findall(r'(?:href|src)="([^"]+)"', text.replace("&amp;", "&")))
            waiting += [link for link in links if link.startswith("/") and link not in seen and link not in waiting]
        assert len(seen) > 100


async def test_a_machine_is_found_by_id_as_well(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        assert await browser.get(f"/machines/{story.id}")


async def test_what_is_not_there_is_said_on_a_page(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert "There is no machine &#39;nobody&#39;." in await browser.get("/machines/nobody", 404)
        assert "There is nothing at /nothing." in await browser.get("/nothing", 404)
        for path in ("/jobs/none", "/content/none", "/content/tasks/none", "/static/x/none.js"):
            await browser.get(path, 404)


async def test_what_a_machine_sends_never_becomes_markup(tmp_path):
    evil = '"><script>alert(1)</script>'
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        parts = ("model", "name", "path", "serial", "wwn", "vendor", "address", "class", "mac", "driver", "mode")
        odd = dict.fromkeys(parts, evil)
        await story.inventory(
            {"cpu": odd, "disks": [odd], "nics": [odd], "pci": [odd], "dmi": odd, "bmc": odd, "boot": odd}
        )
        await story.tell("http.read", evil, client=evil)
        await story.put(params={"os/hostname": evil})
        await story.assign("hello")
        await story.begin()
        await story.write(evil)
        pages = [await browser.get(f"/machines/n1{tab}") for tab in TABS]
        pages.append(await browser.get(f"/jobs/{story.job.id}"))
        assert all("<script>alert" not in page for page in pages)
        assert all("&lt;script&gt;" in page for page in (pages[0], pages[1], pages[3], pages[4], pages[5], pages[6]))


async def test_static_files_are_kept_for_ever_under_their_version(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        url = re.search(r'href="(/static/[^"]+base\.css)"', await browser.get("/login")).group(1)
        response = await browser.answer(url)
        assert (response.status, response.content_type) == (200, "text/css")
        assert "immutable" in response.headers["Cache-Control"]


async def test_an_old_version_of_a_static_file_is_not_kept(tmp_path):
    async with opened(tmp_path, logged_in=False) as (_, browser):
        response = await browser.answer("/static/0000/base.css")
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_whole_log_is_had_as_plain_text(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        await story.assign("hello")
        await story.begin()
        text = "".join(f"<b>line {number}</b>\n" for number in range(100_000))
        await story.write(text)
        response = await browser.answer(f"/jobs/{story.job.id}/log.txt")
        assert response.content_type == "text/plain"
        assert await response.text() == text


async def test_power_says_why_it_cannot_be_used(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = demo.story(1)
        await story.come_up()
        text = await browser.get(f"/machines/{story.machine.name}")
        assert "power control is not set up" in text
        assert text.count(" disabled") >= 8


async def test_a_workflow_that_erases_says_so_in_the_form(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        await discovered(demo, 1, "n1", 5)
        text = await browser.get("/machines/n1")
        assert re.search(r'<option value="deploy"[^>]*data-destructive="image-write"', text)
        assert re.search(r'<option value="hello"[^>]*data-destructive=""', text)


@pytest.mark.parametrize("state", ["nonsense", "<b>"])
async def test_a_state_that_does_not_exist_fits_no_machine(tmp_path, state):
    async with opened(tmp_path) as (demo, browser):
        await discovered(demo, 1, "n1", 5)
        assert "No machine fits." in await browser.get(f"/?state={state}")
