"""The words of power control: values, actions, and the BMC that params describe."""

import pytest

from provisioner.errors import Invalid
from provisioner.power.driver import ACTIONS, Bmc, Outcome, PowerState, bmc_from_params
from tests.fakes.power import FakePower

PARAMS = {"power/address": "10.0.0.9", "power/username": "operator", "power/password": "correct horse"}
BMC = Bmc("10.0.0.9", 623, "operator", "correct horse")


def refusal(params: dict[str, object]) -> Invalid:
    with pytest.raises(Invalid) as caught:
        bmc_from_params(params)
    return caught.value


def test_a_password_is_never_shown() -> None:
    assert "correct horse" not in repr(BMC)
    assert "correct horse" not in str(BMC)


def test_a_bmc_with_an_ipv6_address_is_named_with_brackets() -> None:
    assert Bmc("fe80::1", 623, "", "").place == "[fe80::1]:623"
    assert BMC.place == "10.0.0.9:623"


def test_params_without_driver_and_port_mean_ipmi_on_its_port() -> None:
    assert bmc_from_params(PARAMS) == BMC


def test_port_0_means_the_drivers_default() -> None:
    assert bmc_from_params({**PARAMS, "power/port": 0}).port == 623
    assert bmc_from_params({**PARAMS, "power/driver": "redfish"}).port == 0


def test_every_missing_param_is_named_at_once() -> None:
    error = refusal({"power/username": "operator"})
    assert [fault.path for fault in error.fields] == ["params.power/address", "params.power/password"]
    assert error.message == "power control is not set up: power/address is not set; power/password is not set"
    assert error.code == "power-params"


@pytest.mark.parametrize("port", ["623", 623.0, -1, 65536, True])
def test_a_port_must_be_a_number_in_range(port: object) -> None:
    assert [fault.path for fault in refusal({**PARAMS, "power/port": port}).fields] == ["params.power/port"]


def test_a_password_of_the_wrong_type_is_refused_without_showing_it() -> None:
    error = refusal({**PARAMS, "power/password": 31337})
    assert error.message == "power control is not set up: power/password must be text, not int"


def test_blanks_around_an_address_are_dropped() -> None:
    assert bmc_from_params({**PARAMS, "power/address": " 10.0.0.9\n"}).address == "10.0.0.9"


def test_an_address_of_blanks_is_missing() -> None:
    assert [fault.path for fault in refusal({**PARAMS, "power/address": "  "}).fields] == ["params.power/address"]


def test_the_actions_are_those_of_the_api() -> None:
    assert list(ACTIONS) == [
        "power-on",
        "power-off",
        "power-off-soft",
        "power-cycle",
        "power-reset",
        "power-status",
        "next-boot-pxe",
        "next-boot-disk",
    ]


def test_only_actions_that_cut_off_what_runs_are_disruptive() -> None:
    disruptive = {name for name, action in ACTIONS.items() if action.disruptive}
    assert disruptive == {"power-off", "power-off-soft", "power-cycle", "power-reset"}


@pytest.mark.parametrize("name", list(ACTIONS))
async def test_an_action_performs_the_driver_method_of_its_name(name: str) -> None:
    driver = FakePower(states={BMC.address: PowerState.ON})
    outcome = await ACTIONS[name].perform(driver, BMC, True)
    assert driver.calls == [(name, BMC.address)]
    assert isinstance(outcome, Outcome)


async def test_a_next_boot_action_passes_the_firmware_and_is_not_persistent() -> None:
    driver = FakePower()
    await ACTIONS["next-boot-pxe"].perform(driver, BMC, True)
    assert driver.next_boots[BMC.address] == ("pxe", True, False)
