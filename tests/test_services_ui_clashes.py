"""The page of held newcomers."""

from provisioner.model.machines import Clash, Machine
from tests.browser.demo_state import clashing, discovered
from tests.ui_browser import opened


async def held(demo):
    """A known machine and a newcomer that is held because it looks like it."""
    known = await discovered(demo, 1, "n1", 5)
    return known, await clashing(demo, known, 9)


async def test_nobody_held_is_said_and_no_notice_is_shown(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert "Nobody is held." in await browser.get("/clashes")
        assert "clash-notice" not in await browser.get("/")


async def test_held_newcomers_are_noticed_and_listed_with_the_reason(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        _, clash = await held(demo)
        for path in ("/", "/health"):
            assert "1 newcomer is held" in await browser.get(path)
        text = await browser.get("/clashes")
        assert clash.mac in text and "share serial numbers" in text and "It is n1" in text


async def test_a_newcomer_is_resolved_as_the_known_machine(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        known, clash = await held(demo)
        response = await browser.post(f"/clashes/{clash.mac}", {"who": known.id})
        assert response.headers["Location"] == "/machines/n1"
        assert clash.mac in demo.ledger.read(Machine, known.id).macs
        assert list(demo.ledger.read_all(Clash)) == []


async def test_a_newcomer_is_resolved_as_a_machine_by_name(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        _, clash = await held(demo)
        other = await discovered(demo, 2, "n2", 5)
        assert (await browser.post(f"/clashes/{clash.mac}", {"who": "other", "name": "nobody"})).status == 422
        await browser.post(f"/clashes/{clash.mac}", {"who": "other", "name": "n2"})
        assert clash.mac in demo.ledger.read(Machine, other.id).macs


async def test_a_newcomer_is_resolved_as_a_new_machine(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        known, clash = await held(demo)
        response = await browser.post(f"/clashes/{clash.mac}", {"who": "new"})
        assert response.headers["Location"] != "/machines/n1"
        assert clash.mac not in demo.ledger.read(Machine, known.id).macs
        assert demo.ledger.machine_by_mac(clash.mac) is not None


async def test_a_newcomer_may_try_again(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        _, clash = await held(demo)
        response = await browser.post(f"/clashes/{clash.mac}", {"who": "again"})
        assert response.headers["Location"] == "/clashes"
        assert list(demo.ledger.read_all(Clash)) == []


async def test_who_it_is_must_be_said_and_the_newcomer_must_be_held(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        _, clash = await held(demo)
        assert (await browser.post(f"/clashes/{clash.mac}", {})).status == 422
        assert (await browser.post(f"/clashes/{clash.mac}", {"who": "other", "name": " "})).status == 422
        assert (await browser.post("/clashes/00:00:5e:00:53:01", {"who": "new"})).status == 404
        assert len(list(demo.ledger.read_all(Clash))) == 1
