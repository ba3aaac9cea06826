"""The kernel's table of neighbours."""

from __future__ import annotations

import pytest

from provisioner.arp_table import TABLE, neighbour

TEXT = """\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.50        0x1         0x2         52:54:00:AB:00:01     *        br0
10.0.0.51        0x1         0x0         00:00:00:00:00:00     *        br0
10.0.0.52        0x1         0x6         52:54:00:ab:00:03     *        br0
odd
"""


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "arp"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(("address", "mac"), [("10.0.0.50", "52:54:00:ab:00:01"), ("10.0.0.52", "52:54:00:ab:00:03")])
def test_a_neighbour_that_answered_is_known(table, address, mac):
    assert neighbour(address, table) == mac


@pytest.mark.parametrize("address", ["10.0.0.51", "10.0.0.5", "odd", ""])
def test_one_that_did_not_is_not(table, address):
    assert neighbour(address, table) == ""


def test_without_a_table_nobody_is_known(tmp_path):
    assert neighbour("10.0.0.50", tmp_path / "none") == ""


def test_the_kernels_own_table_is_read():
    assert neighbour("192.0.2.77", TABLE) == ""
