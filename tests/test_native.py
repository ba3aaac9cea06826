"""Values that are plain classes: equal by what they hold, and as legible as structs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from provisioner.links import Arrival
from provisioner.native import Native
from provisioner.netboot import Boot
from provisioner.wire.dhcp import DhcpMessage

ROOT = Path(__file__).resolve().parent.parent


def test_those_with_the_same_values_are_equal():
    assert Arrival("10.0.0.1", "eth0") == Arrival("10.0.0.1", "eth0", True, ())
    assert Arrival("10.0.0.1", "eth0") != Arrival("10.0.0.1", "eth1")
    assert DhcpMessage(options={53: b"\1"}) == DhcpMessage(options={53: b"\1"})
    assert DhcpMessage(options={53: b"\1"}) != DhcpMessage(options={53: b"\3"})


def test_those_of_different_classes_are_not():
    assert DhcpMessage() != Boot()
    assert Arrival("10.0.0.1") != "10.0.0.1"


def test_it_shows_what_it_holds():
    assert repr(Arrival("10.0.0.1")) == (
        "Arrival(address='10.0.0.1', interface='', broadcast=True, also=(), elsewhere=())"
    )


def test_each_has_options_of_its_own():
    assert DhcpMessage().options is not DhcpMessage().options


@pytest.mark.parametrize("cls", Native.__subclasses__(), ids=lambda cls: cls.__name__)
def test_what_makes_two_equal_is_what_they_are_made_of(cls):
    tree = ast.parse(ROOT.joinpath(*cls.__module__.split(".")).with_suffix(".py").read_text())
    [made] = [
        function.args
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    ]
    assert ["self", *cls.__match_args__] == [each.arg for each in (*made.args, *made.kwonlyargs)]
