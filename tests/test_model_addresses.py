"""Networks and leases survive the way to JSON and back, and what is left out has the usual value."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.model.addresses import Lease, LeaseState, Picker, Probe, Reservation, Subnet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        Subnet(name="s", cidr="10.0.0.0/24", pickers=(Picker.HINT, Picker.NONE), probe=Probe.OFF, options={"42": "x"}),
        Reservation(address="10.0.0.5", mac="02:00:00:00:00:01", scoped=False),
        Lease(address="10.0.0.5", mac="02:00:00:00:00:01", state=LeaseState.QUARANTINED, expires_at=NOW),
    ],
)
def test_it_comes_back_from_json_as_it_was(value):
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_subnet_asks_before_it_gives_and_tries_all_pickers():
    subnet = Subnet(name="s", cidr="10.0.0.0/24")
    assert subnet.probe is Probe.AUTO
    assert subnet.pickers == (Picker.HINT, Picker.NEXT_FREE, Picker.MOST_EXPIRED)
