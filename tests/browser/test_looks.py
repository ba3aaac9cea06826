"""The web UI at the sizes and schemes it is used in; pictures of every page are kept in build/screenshots."""

import pytest
from playwright.async_api import expect

from tests.browser.demo_state import PASSWORD, fill, fill_more
from tests.browser.pages import DESKTOP, PHONE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PAGES = {
    "machines": "/",
    "machine": "/machines/rack1-n01",
    "machine-failed": "/machines/rack1-n04",
    "machine-repaired": "/machines/rack1-n08",
    "timeline": "/machines/rack1-n02/timeline",
    "machine-jobs": "/machines/rack1-n02/jobs",
    "inventory": "/machines/rack1-n02/inventory",
    "params": "/machines/rack1-n02/params",
    "json": "/machines/rack1-n02/raw",
    "jobs": "/jobs",
    "network": "/leases",
    "doctor": "/doctor",
    "packets": "/packets?client=rack1-n02",
    "subnet": "/subnets/rack",
    "reservation": "/new-reservation?lease=10.77.0.13",
    "content": "/content",
    "task": "/content/tasks/image-write",
    "template": "/content/templates/boot/ipxe",
    "unavailable": "/content/stages",
    "unavailable-stage": "/content/stages/burn-in",
    "clashes": "/clashes",
    "log-search": "/logs?q=SHA-256",
    "health": "/health",
}
SCHEMES = ("light", "dark")


def jobs_of(told):
    failed, mended = told["failed"].job, told["mended"].job
    return {
        "job": f"/jobs/{failed.id}",
        "job-at-line": f"/jobs/{failed.id}?at=110#hit",
        "job-assets": f"/jobs/{mended.id}",
    }


async def look(visit, name, *, whole=False):
    """A picture in each colour scheme, in none of which anything may reach out of the window."""
    size = "phone" if visit.page.viewport_size == PHONE else "desktop"
    for scheme in SCHEMES:
        await visit.page.emulate_media(color_scheme=scheme)
        await visit.screenshot(f"{name}-{size}-{scheme}", whole=whole)
        assert await visit.overflow() <= 0, f"{name} {scheme}"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_no_page_is_wider_than_the_window(browser, demo, url, size):
    told = await fill_more(demo, await fill(demo))
    phone = size is PHONE
    visit = await Visit.open(browser, url, viewport=size, device_scale_factor=2 if phone else 1, has_touch=phone)
    await visit.page.goto(f"{url}/login")
    await look(visit, "login")
    await visit.log_in("admin", PASSWORD)
    for page, path in {**PAGES, **jobs_of(told)}.items():
        await visit.go(path)
        await look(visit, page, whole=True)
    await visit.open_machine("rack1-n05")
    await visit.find("power-menu").locator("summary").click()
    await look(visit, "power-menu")
    await visit.find("action-power-cycle").click()
    await look(visit, "confirm")
    await visit.find("confirm-no").click()
    await visit.find("assign").click()
    await visit.find("workflow-select").select_option("deploy")
    await look(visit, "assign")
    await visit.go("/machines/rack1-n08")
    await visit.find("more-menu").locator("summary").click()
    await look(visit, "more-menu")
    await visit.go("/machines/rack1-n02/params")
    await visit.find("param", name="hello/lines").locator("summary").click()
    await visit.find("reveal").first.click()
    await look(visit, "why", whole=True)
    await visit.go("/")
    for machine in ("rack1-n02", "rack1-n03", "rack1-n05"):
        await visit.row(machine).locator("[data-testid=pick]").check()
    await look(visit, "bulk", whole=True)
    await visit.find("bulk-power").click()
    await visit.find("bulk-action").select_option("power-cycle")
    await look(visit, "bulk-power")
    await visit.page.keyboard.press("Escape")
    await visit.find("bulk-pause").click()
    await expect(visit.find("bulk-results")).to_be_visible()
    await look(visit, "bulk-results")
    await visit.find("bulk-power").click()
    await visit.find("bulk-action").select_option("power-status")
    await visit.find("bulk-power-submit").click()
    await expect(visit.find("operation")).to_have_attribute("data-state", "finished")
    await look(visit, "operation")
    assert visit.complaints == []
