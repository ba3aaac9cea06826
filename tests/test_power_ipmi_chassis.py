"""Chassis requests, against a BMC in memory."""

import pytest

from provisioner.power.driver import PowerState
from provisioner.power.ipmi_chassis import (
    BootFlags,
    cycle_power,
    press_reset,
    read_power,
    set_boot,
    shut_down,
    switch_off,
    switch_on,
)
from provisioner.power.ipmi_session import Completed, Lost
from tests.fakes.ipmi_session import CONTROL, GET_BOOT, SET_BOOT, FakeBmc

OFF, ON, CYCLE, RESET, SOFT_OFF = 0, 1, 2, 3, 5
BUSY, NO_SUCH_COMMAND, NOT_NOW = 0xC0, 0xC1, 0xD5


class EmptyAnswers(FakeBmc):
    def command(self, netfn: int, command: int, data: object = (), first_wait: float | None = None) -> bytes:
        return b""


@pytest.mark.parametrize(("powered", "state"), [(True, PowerState.ON), (False, PowerState.OFF)])
def test_the_state_is_bit_0_of_the_status(powered: bool, state: PowerState) -> None:
    assert read_power(FakeBmc(powered=powered)) is state


def test_an_empty_status_means_the_session_is_of_no_use() -> None:
    with pytest.raises(Lost, match="empty chassis status"):
        read_power(EmptyAnswers())


@pytest.mark.parametrize(
    ("request_", "powered", "sent"),
    [
        (switch_on, False, [ON]),
        (switch_on, True, []),
        (switch_off, True, [OFF]),
        (switch_off, False, []),
        (shut_down, True, [SOFT_OFF]),
        (shut_down, False, []),
        (cycle_power, True, [CYCLE]),
        (cycle_power, False, [ON]),
        (press_reset, True, [RESET]),
        (press_reset, False, []),
    ],
)
def test_a_request_sends_what_the_state_before_needs_and_returns_that_state(request_, powered, sent) -> None:
    bmc = FakeBmc(powered=powered)
    assert request_(bmc) is (PowerState.ON if powered else PowerState.OFF)
    assert bmc.controls == sent


@pytest.mark.parametrize(("request_", "patient"), [(cycle_power, [CYCLE]), (press_reset, [RESET]), (switch_off, [])])
def test_only_what_must_not_happen_twice_waits_long_before_its_packet_is_repeated(request_, patient) -> None:
    bmc = FakeBmc(powered=True)
    request_(bmc)
    assert bmc.patient_controls == patient


def test_a_bmc_that_cannot_cycle_is_told_apart_from_one_that_will_not_now() -> None:
    assert cycle_power(FakeBmc(powered=True, refuses={(CONTROL, CYCLE): NO_SUCH_COMMAND})) is None
    with pytest.raises(Completed):
        cycle_power(FakeBmc(powered=True, refuses={(CONTROL, CYCLE): NOT_NOW}))


@pytest.mark.parametrize(
    ("device", "uefi", "persist", "flags"),
    [
        ("pxe", False, False, "8004000000"),
        ("disk", False, False, "8008000000"),
        ("pxe", True, False, "a004000000"),
        ("disk", True, True, "e008000000"),
    ],
)
def test_boot_flags_are_set_as_the_specification_lays_them_out(device, uefi, persist, flags) -> None:
    bmc = FakeBmc()
    set_boot(bmc, device, uefi, persist)
    assert bmc.boot_flags.hex() == flags


def test_boot_flags_are_kept_over_power_button_reset_watchdog_and_a_minute() -> None:
    bmc = FakeBmc()
    set_boot(bmc, "pxe", False, False)
    assert bmc.keep_flags == 0b1111


def test_boot_flags_come_back_as_the_bmc_shows_them() -> None:
    state, shown = set_boot(FakeBmc(powered=True), "disk", True, False)
    assert state is PowerState.ON
    assert shown == BootFlags(valid=True, uefi=True, device=2)


def test_a_bmc_that_cannot_keep_flags_longer_is_set_all_the_same() -> None:
    bmc = FakeBmc(refuses={(SET_BOOT, 3): NO_SUCH_COMMAND})
    set_boot(bmc, "pxe", False, False)
    assert bmc.boot_flags.hex() == "8004000000"


def test_a_bmc_that_cannot_show_boot_flags_gives_none() -> None:
    _, shown = set_boot(FakeBmc(refuses={(GET_BOOT, 5): 0x80}), "pxe", False, False)
    assert shown is None


@pytest.mark.parametrize("step", [(SET_BOOT, 3), (SET_BOOT, 5), (GET_BOOT, 5)])
def test_a_busy_bmc_is_not_taken_for_one_that_cannot(step: tuple[int, int]) -> None:
    with pytest.raises(Completed):
        set_boot(FakeBmc(refuses={step: BUSY}), "pxe", False, False)
