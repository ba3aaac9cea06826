"""A finding names its clients in a readable number."""

from __future__ import annotations

from tests.timelines import event, found


def test_many_clients_are_named_up_to_a_readable_number():
    macs = tuple(f"52:54:00:00:01:{number:02x}" for number in range(12))
    (finding,) = found(*(event(0, "tftp.error", mac, key="a", message="there is no file 'a'") for mac in macs))
    assert finding.count == 12
    assert finding.whom.endswith("and 2 more")
