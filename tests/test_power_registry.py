"""Drivers by name."""

import pytest

from provisioner.errors import Invalid
from provisioner.power.driver import PowerState
from provisioner.power.ipmi import IpmiDriver
from provisioner.power.registry import DRIVERS, PowerDrivers, installed_drivers
from tests.fakes.power import PARAMS, FakePower

TABLE = {"fake": "tests.fakes.power:FakePower"}


def test_every_driver_of_ours_can_be_made() -> None:
    drivers = PowerDrivers(DRIVERS)
    assert isinstance(drivers.get("ipmi"), IpmiDriver)


def test_the_installed_drivers_include_ours() -> None:
    assert DRIVERS.items() <= installed_drivers().items()


def test_a_driver_is_made_once() -> None:
    drivers = PowerDrivers(TABLE)
    assert drivers.get("fake") is drivers.get("fake")


def test_an_unknown_driver_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="unknown power driver 'redfish'; there is: fake"):
        PowerDrivers(TABLE).get("redfish")


async def test_perform_finds_the_driver_by_the_machines_params() -> None:
    driver = FakePower()
    outcome = await PowerDrivers(TABLE, {"fake": driver}).perform("power-on", PARAMS)
    assert outcome.state is PowerState.ON
    assert driver.calls == [("power-on", PARAMS["power/address"])]


@pytest.mark.parametrize(("firmware", "uefi"), [("uefi", True), ("bios", False), ("", False)])
async def test_the_next_boot_asks_for_uefi_when_the_firmware_is(firmware: str, uefi: bool) -> None:
    driver = FakePower()
    await PowerDrivers(TABLE, {"fake": driver}).perform("next-boot-disk", PARAMS, firmware)
    assert driver.next_boots[PARAMS["power/address"]] == ("disk", uefi, False)


async def test_an_unknown_action_is_refused_with_those_there_are() -> None:
    with pytest.raises(Invalid, match="unknown power action 'explode'; there is: next-boot-disk"):
        await PowerDrivers(TABLE).perform("explode", PARAMS)


def test_an_action_is_offered_when_params_and_driver_are_there() -> None:
    assert PowerDrivers(TABLE).reason_against("power-on", PARAMS) == ""


def test_missing_params_are_the_reason_against_an_action() -> None:
    reason = PowerDrivers(TABLE).reason_against("power-on", {})
    assert "power/address is not set" in reason


def test_an_unknown_driver_is_the_reason_against_an_action() -> None:
    reason = PowerDrivers(TABLE).reason_against("power-on", {**PARAMS, "power/driver": "lpar"})
    assert reason == "unknown power driver 'lpar'; there is: fake"


async def test_close_closes_every_driver_that_was_made() -> None:
    driver = FakePower()
    await PowerDrivers(TABLE, {"fake": driver}).close()
    assert driver.closed
