"""Subnets, reservations and leases in a real browser."""

import pytest
from playwright.async_api import expect

from provisioner.model.addresses import Lease, Reservation, Subnet
from tests.browser.demo_state import fill

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_subnet_is_made_and_changed_with_wrong_input_kept(demo, visit, url):
    page = visit.page
    await page.goto(f"{url}/leases")
    await visit.find("new-subnet").click()
    await visit.find("field-name").fill("hall")
    await visit.find("field-cidr").fill("10.9.0.0/33")
    await visit.find("save").click()
    await expect(visit.find("field-error")).to_contain_text("10.9.0.0/33")
    await expect(visit.find("field-cidr")).to_be_focused()
    await expect(visit.find("field-name")).to_have_value("hall")
    # The browser's console tells of the status 422 that the form came back with.
    assert [each for each in visit.complaints if "422" not in each] == []
    visit.complaints.clear()
    await visit.find("field-cidr").fill("10.9.0.0/24")
    await visit.find("field-cidr").press("Enter")
    assert await visit.notice() == "Subnet hall is saved."
    # Neither the form nor its refusal is in the way back.
    await page.go_back()
    await expect(page.get_by_role("link", name="hall")).to_be_visible()
    await page.get_by_role("link", name="hall").click()
    await expect(visit.find("section").first).not_to_have_attribute("open", "")
    await visit.find("field-proxy").check()
    await visit.find("save").click()
    await expect(page.get_by_text("boot information only")).to_be_visible()
    assert demo.ledger.read(Subnet, "hall").proxy


async def test_a_form_stays_as_it_is_when_something_before_the_server_answers(visit, url):
    page = visit.page
    await page.goto(f"{url}/new-subnet")
    await page.route("**/new-subnet", lambda route: route.fulfill(status=502, body="Bad gateway"))
    await visit.find("field-name").fill("hall")
    await visit.find("save").click()
    assert "(502) is no page of ours" in await visit.notice("bad")
    await expect(visit.find("field-name")).to_have_value("hall")
    assert [each for each in visit.complaints if "502" not in each] == []
    visit.complaints.clear()


async def test_a_lease_becomes_a_reservation_and_is_freed(demo, visit, url):
    await fill(demo)
    page = visit.page
    await page.goto(f"{url}/leases?q=10.77.0.13")
    await visit.find("reserve").click()
    await expect(visit.find("field-address")).to_have_value("10.77.0.13")
    await visit.find("save").click()
    await expect(page.get_by_role("link", name="Reservation", exact=True)).to_be_visible()
    assert demo.ledger.read(Reservation, "10.77.0.13") is not None
    # The board was changed: its address passes to the new card.
    await page.get_by_role("link", name="Reservation", exact=True).click()
    await visit.find("field-mac").fill("5254.00aa.bb")
    await visit.find("save").click()
    await expect(visit.find("field-error")).to_contain_text("5254.00aa.bb")
    visit.complaints.clear()
    await visit.screenshot("reservation-wrong-mac")
    await visit.find("field-mac").fill("5254.00AA.BB01")
    await visit.find("save").click()
    await visit.notice()
    await visit.screenshot("reservation-new-mac")
    changed = demo.ledger.read(Reservation, "10.77.0.13")
    assert changed is not None and changed.mac == "52:54:00:aa:bb:01"
    await page.goto(f"{url}/leases?q=10.77.0.72")
    await expect(page.get_by_text("somebody answered there")).to_be_visible()
    await visit.find("free").click()
    await page.get_by_role("button", name="Free it").click()
    await expect(page).to_have_url(f"{url}/leases")
    assert demo.ledger.read(Lease, "10.77.0.72") is None
