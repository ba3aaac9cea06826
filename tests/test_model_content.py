"""What operators define survives the way to JSON and back, and refuses what it does not know."""

from __future__ import annotations

import msgspec
import pytest

from provisioner.model.content import CONTENT_KINDS, BootArch, Bootenv


@pytest.mark.parametrize("cls", CONTENT_KINDS.values())
def test_content_comes_back_from_json_as_it_was(cls):
    value = cls(name="x", meta={"color": "blue"})
    assert msgspec.json.decode(msgspec.json.encode(value), type=cls) == value


@pytest.mark.parametrize("cls", CONTENT_KINDS.values())
def test_an_unknown_field_is_refused(cls):
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"name": "x", "nonsense": 1}, cls)


def test_a_bootenv_netboots_with_an_architecture_and_installs_by_its_name():
    assert Bootenv(name="x-install", arch={"amd64": BootArch(kernel="k")}).netboots
    assert Bootenv(name="x-install").installs and not Bootenv(name="local").netboots
