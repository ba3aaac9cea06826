"""A machine that was started to boot from the network and did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.diagnosis import diagnose
from provisioner.events import Event
from provisioner.findings import Awaited, Facts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MAC = "52:54:00:00:00:01"
MACHINE = Awaited("m1", "web-1", (MAC,))


def event(minutes, kind, key="", machine="m1", **data):
    return Event(id=1, time=NOW + timedelta(minutes=minutes), kind=kind, machine=machine, mac="", key=key, data=data)


CYCLED = event(0, "power.done", "power-cycle", state="on")
OFF, ON = event(0, "power.done", "power-off", state="off"), event(0, "power.done", "power-on", state="on")
REBOOT = event(0, "agent.reboot", "discovery", next_boot="pxe")
FIRMWARE = event(1, "dhcp.offer", firmware="UEFI x64", boot_file="a.efi")
SYSTEM = event(1, "dhcp.offer", "10.0.0.9")


def codes(*events, after=10.0, awaited=(MACHINE,)):
    facts = Facts(now=NOW + timedelta(minutes=after), events=events, awaited=awaited)
    return [(each.code, each.subject, each.macs) for each in diagnose(facts)]


@pytest.mark.parametrize("events", [(CYCLED,), (event(0, "power.done", "power-reset"),), (OFF, ON), (REBOOT,)])
def test_peers_7_a_machine_that_is_not_heard_of_after_its_start_is_named(events):
    assert codes(*events) == [("not-heard", "web-1", (MAC,))]
    assert codes(*events, after=9.9) == []


@pytest.mark.parametrize(
    "events",
    [
        (),
        (CYCLED, FIRMWARE),
        (CYCLED, event(5, "agent.hello")),
        (CYCLED, OFF),
        (ON,),
        (event(-1, "power.done", "power-status", state="on"), ON),
        (event(0, "agent.reboot", "local", next_boot="disk"),),
        (event(0, "power.done", "power-cycle", machine="m2"),),
    ],
)
def test_one_that_was_heard_of_or_not_started_or_switched_off_is_not(events):
    assert codes(*events) == []


def test_what_was_heard_before_the_start_is_no_sign_of_it():
    assert codes(event(-1, "agent.hello"), CYCLED) == [("not-heard", "web-1", (MAC,))]


def test_peers_8_a_machine_that_came_up_from_its_disk_is_named():
    assert codes(CYCLED, SYSTEM, event(1, "dhcp.ack", "10.0.0.9")) == [("booted-disk", "web-1", (MAC,))]


@pytest.mark.parametrize("events", [(CYCLED, FIRMWARE, SYSTEM), (CYCLED, SYSTEM, event(1, "boot.render"))])
def test_a_system_that_asks_after_its_firmware_came_from_the_network(events):
    assert codes(*events) == []


def test_firmware_that_asks_by_another_card_a_moment_later_is_waited_for():
    assert codes(CYCLED, SYSTEM, after=1.9) == []


def test_a_machine_that_shall_boot_its_disk_is_not_waited_for():
    assert codes(CYCLED, awaited=()) == []
