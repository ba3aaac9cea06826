"""What a client's timeline shows is said in plain words, and a healthy one says nothing."""

from __future__ import annotations

import pytest

from provisioner.findings import Severity
from tests.timelines import ACK, IPXE, MAC, NAK, OFFER, OTHER, OURS, PXE, START, codes, event, found

BOOT = (
    event(0, OFFER, **PXE),
    event(1, ACK, **PXE),
    event(2, "tftp.read", key="ipxe/snponly.efi"),
    event(4, OFFER, **IPXE),
    event(5, ACK, **IPXE),
    event(6, "boot.render", key="discovery"),
    event(7, "http.read", key="/files/discovery/vmlinuz"),
    event(40, ACK, key="10.0.0.9"),
    event(45, "agent.hello"),
)


def test_what_a_proxy_told_and_nobody_fetched_is_said_as_well():
    told = {"boot_file": "ipxe/snponly.efi", "server": OURS, "reply": "ACK"}
    assert len(codes(event(1, "dhcp.proxy", **told))) == 1
    assert codes(event(1, "dhcp.proxy", **told), event(2, "tftp.read", key="ipxe/snponly.efi"), after=9) == []


def test_a_loader_that_never_came_up_is_named_with_what_to_do():
    [finding] = found(event(1, "boot.loader", key="ipxe", failed="snponly", times=2))
    assert (finding.code, finding.subject, finding.macs) == ("loader-failed", "snponly", (MAC,))
    assert "ipxe is tried now" in finding.title and "boot/loader" in finding.advice


def test_a_boot_that_went_well_says_nothing():
    assert codes(*BOOT) == []


@pytest.mark.parametrize("length", range(1, len(BOOT)))
def test_a_boot_under_way_says_nothing(length):
    events = BOOT[:length]
    assert codes(*events, after=(events[-1].time - START).total_seconds() + 5) == []


def test_a_client_that_chose_another_server_names_it():
    (finding,) = found(
        event(0, "dhcp.request", ignored="the client chose another server", detail="10.0.0.250"),
        event(1, "dhcp.request", OTHER, ignored="the client chose another server", detail="10.0.0.250"),
    )
    assert (finding.code, finding.subject, finding.count) == ("foreign-dhcp", "10.0.0.250", 2)
    assert finding.macs == (MAC, OTHER)
    assert "proxy: true" in finding.advice


def test_another_address_of_ours_is_no_other_server():
    assert codes(event(0, "dhcp.request", ignored="the client chose another server", detail=OURS)) == []


def test_firmware_that_falls_silent_after_being_told_its_file():
    assert codes(event(0, ACK, **PXE), after=30) == []
    assert codes(event(0, ACK, **PXE), after=61) == ["file-not-fetched"]


def test_firmware_that_comes_back_without_having_fetched_its_file():
    assert codes(event(0, ACK, **PXE), event(20, ACK, **PXE), after=21) == ["file-not-fetched"]


def test_a_file_of_another_next_server_is_told_apart():
    (finding,) = found(event(0, ACK, **PXE, next_server="10.9.9.9"))
    assert (finding.code, finding.subject) == ("next-server", "10.9.9.9")


def test_ipxe_that_never_asks_for_its_script():
    (finding,) = found(event(0, ACK, **PXE), event(1, "tftp.read"), event(2, ACK, **IPXE))
    assert finding.code == "script-not-fetched"
    assert "boot/loader" in finding.advice


def test_a_system_that_takes_an_address_without_a_boot_file_is_no_boot():
    assert codes(event(0, ACK, key="10.0.0.9", server=OURS)) == []


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, []), (4, []), (4 << 8, []), (8, ["late-link"]), (30, ["late-link"])]
)
def test_a_first_request_that_comes_late_points_at_spanning_tree(seconds, expected):
    assert codes(event(0, OFFER, secs=seconds, interface="eth0")) == expected


def test_later_requests_of_the_same_boot_may_have_waited_long():
    events = [event(0, OFFER, interface="eth0"), event(16, OFFER, secs=16, interface="eth0")]
    assert codes(*events) == []


def test_offers_that_nobody_takes():
    offers = [event(second, OFFER, interface="eth0") for second in (0, 4, 8)]
    (finding,) = found(*offers)
    assert (finding.code, finding.count) == ("offer-not-taken", 3)
    assert "interface eth0" in finding.title
    assert codes(*offers, event(9, ACK)) == []


def test_offers_through_a_relay_name_the_relay():
    (finding,) = found(*(event(second, OFFER, via="10.5.0.1") for second in (0, 4, 8)))
    assert "relay 10.5.0.1" in finding.title


def test_large_blocks_that_get_no_answer_are_fragments_lost():
    message = "the client does not answer any more"
    assert codes(event(0, "tftp.error", message=message, blksize=8192)) == ["fragments-lost"]
    assert codes(event(0, "tftp.error", message=message, blksize=1468)) == []


def test_an_address_refused_again_and_again():
    naks = [event(second, NAK, reason="the address is reserved for another") for second in (0, 5, 10)]
    assert codes(*naks) == ["nak-loop"]
    assert codes(*naks, event(11, ACK)) == []


def test_a_file_that_is_not_there():
    (finding,) = found(event(0, "tftp.error", key="pxelinux.0", message="there is no file 'pxelinux.0'"))
    assert (finding.code, finding.subject) == ("file-missing", "pxelinux.0")


def test_a_pool_without_a_free_address():
    assert codes(event(0, "dhcp.discover", ignored="no free address", detail="subnet rack-1")) == ["pool-exhausted"]


@pytest.mark.parametrize("kind", ["dhcp.conflict", "dhcp.decline"])
def test_an_address_in_use_by_somebody_else(kind):
    (finding,) = found(event(0, kind, key="10.0.0.50"))
    assert (finding.code, finding.subject, finding.severity) == ("address-conflict", "10.0.0.50", Severity.WARNING)


def test_a_system_that_never_came_after_its_script():
    script = event(0, "boot.render", key="discovery")
    assert codes(script, after=599) == []
    assert codes(script, after=601) == ["system-silent"]
    assert codes(script, event(50, "agent.register"), after=601) == []
