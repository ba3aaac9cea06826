"""Structs of compiled modules are as frozen as those of others."""

from __future__ import annotations

import pytest

from provisioner.conductor.conflicts import Question
from provisioner.frozen import Frozen


class Pair(Frozen, frozen=True):
    left: int
    right: int = 0


@pytest.mark.parametrize("value", [Pair(1), Question("10.0.0.1", "eth0")])
def test_a_field_cannot_be_set(value):
    with pytest.raises(AttributeError):
        setattr(value, type(value).__struct_fields__[0], 2)


def test_what_is_frozen_is_a_key():
    assert {Pair(1): "one"}[Pair(1, 0)] == "one"
