"""Timelines for the doctor's rules, and what it finds in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from provisioner.diagnosis import diagnose
from provisioner.events import Event
from provisioner.findings import Facts, Finding

START = datetime(2030, 5, 1, 12, tzinfo=UTC)
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
OURS = "10.0.0.1"
PXE = {"firmware": "UEFI x64", "boot_file": "ipxe/snponly.efi", "server": OURS, "interface": "eth0"}
IPXE = {"firmware": "iPXE on UEFI x64", "boot_file": "52-54-00-00-00-01.ipxe", "server": OURS}
ACK, OFFER, NAK = "dhcp.ack", "dhcp.offer", "dhcp.nak"


def event(second: float, kind: str, mac: str = MAC, key: str = "", **data) -> Event:
    return Event(time=START + timedelta(seconds=second), kind=kind, mac=mac, key=key, data=data)


def found(*events: Event, after: float = 3600.0, **facts) -> list[Finding]:
    given = Facts(now=START + timedelta(seconds=after), events=events, addresses=frozenset({OURS}), **facts)
    return diagnose(given)


def codes(*events: Event, after: float = 3600.0, **facts) -> list[str]:
    return [finding.code for finding in found(*events, after=after, **facts)]
