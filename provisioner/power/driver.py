"""What power control is, whatever switches it: the words, the driver interface, and the actions by name.

Every method of a driver returns what it read back from the BMC afterwards, never what it hoped for, and raises
one of `PowerError`'s children (or `Conflict`, when the machine's power state forbids the request) with a sentence
that names the BMC, what was tried and what to check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from provisioner.errors import FieldError, Invalid

IPMI = "ipmi"
IPMI_PORT = 623
HIGHEST_PORT = 65535

NextBoot = Literal["pxe", "disk"]


class PowerState(StrEnum):
    """Whether a machine has power, as its BMC says; `unknown` is what we say before asking."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Bmc:
    """How to reach one baseboard management controller. `port` 0 is the driver's own default."""

    address: str
    port: int
    username: str
    password: str = field(repr=False)
    driver: str = IPMI

    @property
    def place(self) -> str:
        """Where it is, for sentences: `address:port`, with brackets around an IPv6 address."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


@dataclass(frozen=True)
class Outcome:
    """What came of an action: the state read back afterwards, and a sentence for people."""

    state: PowerState
    message: str


class PowerDriver(Protocol):
    """Switches power through one kind of BMC. Never blocks the event loop; safe for any number of BMCs at once."""

    async def power_on(self, bmc: Bmc) -> Outcome:
        """On, and still on when read back; already on is success."""

    async def power_off(self, bmc: Bmc, soft: bool = False) -> Outcome:
        """Off, at once or (`soft`) by asking the operating system; already off is success."""

    async def cycle(self, bmc: Bmc) -> Outcome:
        """Off for a moment, then on; a machine that is off is powered on."""

    async def reset(self, bmc: Bmc) -> Outcome:
        """The reset line; Conflict when the machine is off."""

    async def status(self, bmc: Bmc) -> Outcome:
        """On or off."""

    async def set_next_boot(self, bmc: Bmc, device: NextBoot, uefi: bool, persist: bool = False) -> Outcome:
        """Boot from `device` next time only, or from now on (`persist`); the power state is left alone."""

    async def close(self) -> None:
        """End sessions and threads; no method may be called afterwards."""


Perform = Callable[[PowerDriver, Bmc, bool], Awaitable[Outcome]]


@dataclass(frozen=True)
class Action:
    """One power action as the API, CLI and UI name it. `disruptive`: whatever runs on the machine is cut off."""

    name: str
    description: str
    perform: Perform
    disruptive: bool = False


def _next_boot(device: NextBoot) -> Perform:
    return lambda driver, bmc, uefi: driver.set_next_boot(bmc, device, uefi)


# perform(driver, bmc, uefi): `uefi` says whether the machine's firmware is UEFI; only next-boot needs to know.
ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("power-on", "switch it on", lambda driver, bmc, uefi: driver.power_on(bmc)),
        Action("power-off", "switch it off at once", lambda driver, bmc, uefi: driver.power_off(bmc), disruptive=True),
        Action(
            "power-off-soft",
            "ask its operating system to shut down, and wait until it is off",
            lambda driver, bmc, uefi: driver.power_off(bmc, soft=True),
            disruptive=True,
        ),
        Action(
            "power-cycle",
            "switch it off and on again; when it is off, switch it on",
            lambda driver, bmc, uefi: driver.cycle(bmc),
            disruptive=True,
        ),
        Action("power-reset", "press its reset button", lambda driver, bmc, uefi: driver.reset(bmc), disruptive=True),
        Action("power-status", "ask whether it is on or off", lambda driver, bmc, uefi: driver.status(bmc)),
        Action("next-boot-pxe", "boot from the network next time", _next_boot("pxe")),
        Action("next-boot-disk", "boot from its disk next time", _next_boot("disk")),
    )
}

_REQUIRED = ("power/address", "power/username", "power/password")


def bmc_from_params(params: Mapping[str, Any]) -> Bmc:
    """The BMC that a machine's resolved params describe.

    `power/driver` is `ipmi` and `power/port` the driver's default when absent; Invalid names every param at fault.
    """
    faults = [*_missing(params), *_mistyped(params)]
    if faults:
        parts = "; ".join(f"{fault.path.removeprefix('params.')} {fault.message}" for fault in faults)
        raise Invalid(f"power control is not set up: {parts}", fields=tuple(faults), code="power-params")
    driver = params.get("power/driver") or IPMI
    return Bmc(
        address=params["power/address"].strip(),
        port=params.get("power/port") or (IPMI_PORT if driver == IPMI else 0),
        username=params["power/username"],
        password=params["power/password"],
        driver=driver,
    )


def _missing(params: Mapping[str, Any]) -> list[FieldError]:
    absent = [name for name in _REQUIRED if not str(params.get(name) or "").strip()]
    return [FieldError(f"params.{name}", "is not set") for name in absent]


def _mistyped(params: Mapping[str, Any]) -> list[FieldError]:
    faults = [
        FieldError(f"params.{name}", f"must be text, not {type(params[name]).__name__}")
        for name in (*_REQUIRED, "power/driver")
        if params.get(name) is not None and not isinstance(params[name], str)
    ]
    port = params.get("power/port")
    if port is not None and not _is_port(port):
        # The value may be shown: a port is no secret. Passwords never get into a message.
        faults.append(FieldError("params.power/port", f"must be a number from 1 to {HIGHEST_PORT}, not {port!r}"))
    return faults


def _is_port(value: object) -> bool:
    """Whether it is a UDP or TCP port; 0 asks for the driver's default. JSON's true is no number here."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= HIGHEST_PORT
