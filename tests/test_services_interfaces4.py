"""Our own addresses by interface."""

from provisioner.services.interfaces4 import interface_addresses


def test_the_loopback_has_its_address():
    assert interface_addresses("lo")[0] == "127.0.0.1"


def test_without_a_name_those_of_all_interfaces_are_told():
    assert "127.0.0.1" in interface_addresses()


def test_an_interface_that_is_not_there_has_none():
    assert interface_addresses("no-such-one") == ()
