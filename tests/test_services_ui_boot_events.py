"""What happens before the system runs, as sentences."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.events import Event
from provisioner.services.ui_boot_events import SENTENCES
from provisioner.services.ui_events import tell

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(kind, key="", by="", **data):
    return Event(id=7, time=NOW, kind=kind, key=key, by=by, data=data)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event("dhcp.discover", firmware="UEFI x64"), "Asked for an address (UEFI x64)"),
        (
            event("dhcp.discover", ignored="no free address", detail="pool rack"),
            "Asked for an address; not answered: no free address, pool rack",
        ),
        (event("dhcp.offer", "10.0.0.9"), "Was offered 10.0.0.9"),
        (
            event("dhcp.offer", "10.0.0.9", request="DISCOVER", firmware="UEFI x64", boot_file="ipxe/snponly.efi"),
            "Was offered 10.0.0.9 (UEFI x64, boot file ipxe/snponly.efi)",
        ),
        (event("dhcp.ack", request="INFORM"), "Asked for options only and was told them"),
        (event("dhcp.request", "10.0.0.9"), "Asked to use 10.0.0.9"),
        (
            event("dhcp.ack", "10.0.0.9", lease_seconds=3600, boot_file="ipxe/snponly.efi"),
            "Was given 10.0.0.9 (for 1 h, boot file ipxe/snponly.efi)",
        ),
        (event("dhcp.nak", "10.0.0.9", reason="wrong network"), "Was refused 10.0.0.9: wrong network"),
        (
            event("dhcp6.advertise", "fd00::9", lease_seconds=3600, boot_file="http://[fd00::1]/x"),
            "Was offered fd00::9 (boot file http://[fd00::1]/x)",
        ),
        (event("dhcp6.advertise", reason="no free address"), "Was refused an address: no free address"),
        (event("dhcp6.reply", "fd00::9", request="RENEW", lease_seconds=3600), "Was given fd00::9 (for 1 h)"),
        (event("dhcp6.reply", "fd00::9", request="CONFIRM"), "Has the right address here: fd00::9"),
        (event("dhcp6.reply", request="INFORMATION_REQUEST"), "Was told options without an address"),
        (
            event("dhcp6.rebind", "fd00::9", ignored="an address that another server gave"),
            "Asked any server to keep its IPv6 address; not answered: an address that another server gave",
        ),
        (event("tftp.read", "ipxe/a.efi", bytes=0, size_only=True), "Asked for the size of ipxe/a.efi by TFTP"),
        (
            event("tftp.read", "ipxe/undionly.kpxe", bytes=287_744, seconds=0.412),
            "Fetched ipxe/undionly.kpxe by TFTP (288 kB in 0.4 s)",
        ),
        (event("http.error", "x", message="no such file"), "Could not fetch x by HTTP: no such file"),
        (event("boot.render", "discovery", protocol="tftp"), "Was told to boot discovery (script by TFTP)"),
        (event("boot.local", "local"), "Was told to boot its own disk"),
        (
            event("boot.loader", "ipxe", failed="snponly", times=2),
            "Is given the boot loader ipxe from now on: snponly was loaded 2 times and never came up",
        ),
        (
            event("boot.loader", "shim", failed="snponly", times=1),
            "Is given the boot loader shim from now on: snponly was loaded and was refused at once",
        ),
        (event("dhcp.proxy", "x.efi"), "Was told beside another DHCP server to load x.efi"),
        (
            event("dhcp.proxy", "", boot="it may not"),
            "Asked what to boot beside another DHCP server and was told nothing (it may not)",
        ),
        (event("boot.error", "x", message="no kernel"), "Could not be told to boot x: no kernel"),
    ],
)
def test_it_is_told_in_a_sentence(told, text):
    assert told.kind in SENTENCES and tell(told).text == text
