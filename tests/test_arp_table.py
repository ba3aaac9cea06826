"""The kernel's table of neighbours."""

from __future__ import annotations

import pytest

from provisioner.arp_table import TABLE, neighbours

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


def test_neighbours_that_answered_are_known_and_no_others(table):
    assert neighbours(table) == {"10.0.0.50": "52:54:00:ab:00:01", "10.0.0.52": "52:54:00:ab:00:03"}


def test_without_a_table_nobody_is_known(tmp_path):
    assert neighbours(tmp_path / "none") == {}


def test_the_kernels_own_table_is_read():
    assert "192.0.2.77" not in neighbours(TABLE)
