"""Structs of compiled modules are as frozen as those of others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.dhcp_case import Offer
from provisioner.frozen import Frozen


class Pair(Frozen, frozen=True):
    left: int
    right: int = 0


@pytest.mark.parametrize("value", [Pair(1), Offer("10.0.0.1", "52:54:00:00:00:01", datetime(2026, 1, 1, tzinfo=UTC))])
def test_a_field_cannot_be_set(value):
    with pytest.raises(AttributeError):
        setattr(value, type(value).__struct_fields__[0], 2)


def test_what_is_frozen_is_a_key():
    assert {Pair(1): "one"}[Pair(1, 0)] == "one"
