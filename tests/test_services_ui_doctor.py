"""The pages of findings and of packets."""

from __future__ import annotations

from provisioner.model.addresses import Subnet
from provisioner.wire.dhcp import encode
from tests.browser.demo_state import discovered
from tests.dhcp_messages import discover
from tests.parts import OPERATOR
from tests.ui_browser import opened

CLIENT, ALL = ("0.0.0.0", 68), ("255.255.255.255", 67)


async def missed(demo, mac, name):
    tx = demo.ledger.transaction()
    tx.event("tftp.error", mac=mac, key=name, message=f"there is no file {name!r}")
    await tx.commit()


def note(demo, mac, data=None):
    data = encode(discover(1)) if data is None else data
    demo.parts.recorder.keep("dhcp", demo.ledger.clock().timestamp(), mac, False, data, CLIENT, ALL, "eth0")
    demo.parts.recorder.flush()


async def test_a_healthy_network_is_said_to_be_healthy(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        assert "DHCP answers nobody: no subnet is switched on." in await browser.get("/doctor")
        await demo.networks.put_subnet(Subnet(name="hall", cidr="10.9.0.0/24"), OPERATOR)
        assert "Nothing is wrong, as far as can be seen." in await browser.get("/doctor")


async def test_a_finding_says_what_to_do_and_leads_to_the_packets(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        await missed(demo, story.machine.macs[0], "pxelinux.0")
        text = await browser.get("/doctor")
        assert "pxelinux.0 was asked for and is not there" in text
        assert f'href="/packets?client={story.machine.macs[0]}">n1</a>' in text


async def test_the_findings_of_one_machine_leave_out_others(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        await missed(demo, story.machine.macs[0], "mine")
        await missed(demo, "52:54:00:ff:ff:ff", "theirs")
        text = await browser.get("/doctor?machine=n1")
        assert "mine was asked for" in text and "theirs" not in text


async def test_a_probe_that_is_impossible_is_explained(tmp_path):
    async with opened(tmp_path) as (_, browser):
        answer = await browser.post("/doctor", {})
        assert answer.status == 409
        assert "CAP_NET_RAW" in await answer.text()


async def test_packets_are_shown_in_words_and_can_be_downloaded(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "n1", 5)
        note(demo, story.machine.macs[0])
        text = await browser.get("/packets?client=n1")
        assert "DISCOVER xid 00000001" in text
        assert "0.0.0.0:68 &rarr; 255.255.255.255:67" in text
        assert 'href="/api/v1/packets/capture?machine=n1"' in text
        capture = await browser.answer("/api/v1/packets/capture?machine=n1")
        assert capture.status == 200 and capture.content_type == "application/x-pcapng"


async def test_packets_of_a_mac_that_is_no_machine(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        note(demo, "52:54:00:ff:ff:ff")
        for written in ("52-54-00-FF-FF-FF", "5254.00ff.ffff", "525400ffffff"):
            assert "DISCOVER" in await browser.get(f"/packets?client={written}")


async def test_a_machine_whose_name_looks_like_a_mac_is_found_by_it(tmp_path):
    async with opened(tmp_path) as (demo, browser):
        story = await discovered(demo, 1, "525400ffffff", 5)
        note(demo, story.machine.macs[0])
        assert "DISCOVER" in await browser.get("/packets?client=525400ffffff")


async def test_nobody_s_packets_are_said_to_be_missing(tmp_path):
    async with opened(tmp_path) as (_, browser):
        assert "Nothing is recorded." in await browser.get("/packets")
        text = await browser.get("/packets?client=nobody", 404)
        assert "is neither a machine nor a MAC" in text
