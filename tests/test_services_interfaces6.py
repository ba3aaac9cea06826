"""Interfaces and their IPv6 addresses, as the kernel tells them."""

from __future__ import annotations

import asyncio

from provisioner.services.interfaces6 import Interface6, Interfaces6, read_interfaces

TOLD = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000505400fffe770101 02 40 20 80     eth0
fd000077000000000000000000000001 02 40 00 80     eth0
fd000088000000000000000000000001 02 40 00 c0     eth0
fd000066000000000000000000000001 02 40 00 80     eth0
fe80000000000000000000000000beef 0b 40 20 40    eth11
"""


def test_addresses_are_gathered_by_interface_without_those_that_cannot_be_used_yet():
    assert read_interfaces(TOLD) == {
        1: Interface6("lo", 1),
        2: Interface6("eth0", 2, "fe80::5054:ff:fe77:101", ("fd00:66::1", "fd00:77::1")),
        11: Interface6("eth11", 11),
    }


async def test_a_change_is_told_once(tmp_path):
    source, told = tmp_path / "if_inet6", []
    source.write_text(TOLD)
    interfaces = Interfaces6(told.append, source)
    interfaces.start()
    interfaces.look()
    source.write_text(TOLD.splitlines()[0] + "\n")
    interfaces.look()
    source.unlink()
    interfaces.look()
    interfaces.stop()
    interfaces.stop()
    assert [sorted(each) for each in told] == [[1, 2, 11], [1], []]


async def test_the_kernel_is_listened_to(tmp_path):
    interfaces = Interfaces6(lambda found: None, tmp_path / "none")
    interfaces.start()
    await asyncio.sleep(0)
    interfaces._heard()
    interfaces.stop()
