"""Power over IPMI 2.0 (RMCP+): the verbs, each confirmed by reading back, and the sentence for each fault.

A request that only asks, or that does no harm when done twice, is repeated when the BMC was busy or dropped the
session; power-cycle and reset are repeated only when they were surely not done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from provisioner.errors import (
    BmcLoginRefused,
    BmcRefused,
    BmcTimeout,
    BmcUnreachable,
    Conflict,
    FieldError,
    Invalid,
    PowerError,
)
from provisioner.power.driver import Bmc, NextBoot, Outcome, PowerState
from provisioner.power.ipmi_chassis import (
    DEVICE_NAMES,
    DEVICES,
    cycle_power,
    press_reset,
    read_power,
    set_boot,
    shut_down,
    switch_off,
    switch_on,
)
from provisioner.power.ipmi_lines import Engaged, IpmiLines, Late
from provisioner.power.ipmi_session import (
    LONGEST_PASSWORD,
    LONGEST_USERNAME,
    Absent,
    Again,
    Fault,
    LoginRefused,
    Lost,
    OutOfSessions,
    Session,
)

T = TypeVar("T")

_PLAIN_NAMES: dict[NextBoot, str] = {"pxe": "the network", "disk": "its disk"}


@dataclass(frozen=True)
class Patience:
    """How long the driver waits for what, in seconds."""

    # Big servers report on only 10 to 20 s after the command, blades through a chassis manager later still.
    change_seconds: float = 60.0
    # systemd gives services 90 s to stop before it kills them.
    soft_off_seconds: float = 180.0
    # Within this a cycled machine must have dropped power, so that "on" is the new on.
    cycle_settle_seconds: float = 5.0
    # Polls: soon at first, then gently, because BMCs freeze under many requests.
    first_poll_seconds: float = 0.25
    longest_poll_seconds: float = 5.0
    # Before a repeated request.
    busy_pauses: tuple[float, ...] = (0.5, 2.0)


_BACK_OFF = 1.6


class IpmiDriver:
    """The driver `ipmi`. `sleep` and `now` are for tests that own the time."""

    def __init__(
        self,
        lines: IpmiLines | None = None,
        patience: Patience = Patience(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._lines = lines or IpmiLines()
        self._patience = patience
        self._sleep = sleep
        self._now = now

    async def close(self) -> None:
        """End sessions and threads."""
        await self._lines.close()

    async def status(self, bmc: Bmc) -> Outcome:
        """On or off, as the BMC says now."""
        state = await self._ask(bmc, "read the power state", read_power)
        return Outcome(state, f"is {state.value}")

    async def power_on(self, bmc: Bmc) -> Outcome:
        """On, read back."""
        doing = "power on"
        if await self._ask(bmc, doing, switch_on) is PowerState.ON:
            return Outcome(PowerState.ON, "was on already")
        await self._until(bmc, doing, PowerState.ON, self._patience.change_seconds)
        return Outcome(PowerState.ON, "is on")

    async def power_off(self, bmc: Bmc, soft: bool = False) -> Outcome:
        """Off, read back; `soft` waits for the operating system to shut down."""
        doing = "shut down" if soft else "power off"
        if await self._ask(bmc, doing, shut_down if soft else switch_off) is PowerState.OFF:
            return Outcome(PowerState.OFF, "was off already")
        limit = self._patience.soft_off_seconds if soft else self._patience.change_seconds
        await self._until(bmc, doing, PowerState.OFF, limit)
        return Outcome(PowerState.OFF, "is off")

    async def cycle(self, bmc: Bmc) -> Outcome:
        """Off and on by the BMC itself, so that nothing can come between; by two commands when it cannot."""
        doing, patience = "power-cycle", self._patience
        before = await self._ask(bmc, doing, cycle_power, harmless=False)
        if before is None:
            await self.power_off(bmc)
            await self.power_on(bmc)
            return Outcome(PowerState.ON, "was switched off and on again")
        if before is PowerState.OFF:
            await self._until(bmc, doing, PowerState.ON, patience.change_seconds)
            return Outcome(PowerState.ON, "was off; is on")
        await self._until(bmc, doing, PowerState.ON, patience.change_seconds, settle=patience.cycle_settle_seconds)
        return Outcome(PowerState.ON, "was power-cycled; is on")

    async def reset(self, bmc: Bmc) -> Outcome:
        """The reset line; Conflict when the machine is off, since nothing would happen."""
        if await self._ask(bmc, "reset", press_reset, harmless=False) is PowerState.OFF:
            raise Conflict("it is off, so there is nothing to reset; power it on instead", object=bmc.place)
        await self._until(bmc, "reset", PowerState.ON, self._patience.change_seconds)
        return Outcome(PowerState.ON, "was reset; is on")

    async def set_next_boot(self, bmc: Bmc, device: NextBoot, uefi: bool, persist: bool = False) -> Outcome:
        """Set the boot flags and read them back where the BMC can show them."""
        if device not in DEVICES:
            raise Invalid(f"unknown boot device {device!r}; there is: {', '.join(DEVICES)}")
        doing = f"set the next boot to {device}"
        state, shown = await self._ask(bmc, doing, lambda session: set_boot(session, device, uefi, persist))
        when = "from now on" if persist else "next time"
        promise = f"boots from {_PLAIN_NAMES[device]} {when}"
        if shown is None:
            return Outcome(state, f"{promise}; its BMC accepted that but cannot show it")
        if shown.device != DEVICES[device]:
            was = DEVICE_NAMES.get(shown.device, f"device {shown.device}")
            raise BmcRefused(
                f"the BMC at {bmc.place} accepted to {doing}, but shows {was!r} when asked; "
                "set the boot order in the machine's firmware and update the BMC's",
                object=bmc.place,
            )
        if uefi and shown.valid and not shown.uefi:
            return Outcome(state, f"{promise}; its BMC dropped the wish for UEFI, so it may boot in BIOS mode")
        return Outcome(state, f"{promise}; read back from its BMC")

    async def _ask(self, bmc: Bmc, doing: str, request: Callable[[Session], T], harmless: bool = True) -> T:
        """One exchange, repeated where that is safe; raises the sentence for the last fault."""
        _check_credentials(bmc)
        pauses = list(self._patience.busy_pauses)
        while True:
            try:
                return await self._lines.exchange(bmc, request)
            except Fault as fault:
                again = fault.again is Again.ALWAYS or (harmless and fault.again is Again.IF_HARMLESS)
                if not (again and pauses):
                    raise _sentence(fault, bmc, doing) from fault
            await self._sleep(pauses.pop(0))

    async def _until(self, bmc: Bmc, doing: str, wanted: PowerState, limit: float, settle: float = 0.0) -> None:
        """Poll until the BMC reports `wanted`: after something else, or `settle` seconds from now.

        A BMC that is silent meanwhile is asked again: one that shares the machine's network port loses its link when
        power changes. After `limit` seconds raises BmcTimeout, or what the silence was.
        """
        start, pause, changed = self._now(), self._patience.first_poll_seconds, False
        while True:
            trouble: PowerError = _not_reached(bmc, doing, wanted, limit)
            try:
                state = await self._ask(bmc, doing, read_power)
            except (BmcUnreachable, BmcTimeout) as error:
                state, trouble = PowerState.UNKNOWN, error
            waited = self._now() - start
            if state is wanted and (changed or waited >= settle):
                return
            if waited >= limit:
                raise trouble
            changed = changed or state is not wanted
            await self._sleep(pause)
            pause = min(pause * _BACK_OFF, self._patience.longest_poll_seconds)


def _check_credentials(bmc: Bmc) -> None:
    """Invalid when IPMI has no room for them; a BMC would only say that they are wrong."""
    faults = [
        FieldError(f"params.power/{name}", f"is longer than the {longest} bytes that IPMI 2.0 has for it")
        for name, value, longest in (
            ("username", bmc.username, LONGEST_USERNAME),
            ("password", bmc.password, LONGEST_PASSWORD),
        )
        if len(value.encode()) > longest
    ]
    if faults:
        parts = "; ".join(f"{fault.path.removeprefix('params.')} {fault.message}" for fault in faults)
        raise Invalid(f"the login of the BMC at {bmc.place} cannot work: {parts}", fields=tuple(faults))


def _not_reached(bmc: Bmc, doing: str, wanted: PowerState, limit: float) -> BmcTimeout:
    advice = (
        "its operating system may have ignored the request: power it off without asking"
        if doing == "shut down"
        else "look at the machine's front panel and at the BMC's event log"
    )
    return BmcTimeout(
        f"the BMC at {bmc.place} accepted to {doing}, but the machine was not {wanted.value} within {limit:g} s; "
        f"{advice}",
        object=bmc.place,
    )


# Fault -> the error, what happened, what to check. Anything else, a completion code above all, is a refusal.
_SENTENCES: tuple[tuple[type[Fault], type[PowerError], str, str], ...] = (
    (
        Absent,
        BmcUnreachable,
        "no answer from a BMC",
        "check power/address and power/port, the BMC's cable, that IPMI over LAN is enabled in it, and that no "
        "firewall drops UDP",
    ),
    (
        LoginRefused,
        BmcLoginRefused,
        "login refused by the BMC",
        "check power/username and power/password, and that this user may log in over LAN as operator or administrator",
    ),
    (
        Engaged,
        BmcTimeout,
        "no turn at the BMC",
        "it answers slowly or hangs: try again in half a minute, and restart the BMC if that stays so",
    ),
    (
        Late,
        BmcTimeout,
        "no timely answer from the BMC",
        "it was there a moment ago and may have done it: look at the power state before trying again",
    ),
    (
        Lost,
        BmcTimeout,
        "contact lost with the BMC",
        "it was there a moment ago and may have done it: look at the power state before trying again",
    ),
    (
        OutOfSessions,
        BmcRefused,
        "no free session at the BMC",
        "others are logged in to it: close their sessions, or wait a minute for them to lapse",
    ),
)


def _sentence(fault: Fault, bmc: Bmc, doing: str) -> PowerError:
    """The error that tells an operator what happened to which BMC, why, and what to look at."""
    for kind, error, what, advice in _SENTENCES:
        if isinstance(fault, kind):
            who = f" for user {bmc.username!r}" if kind is LoginRefused else ""
            return error(f"{what} at {bmc.place}{who} while trying to {doing} ({fault}); {advice}", object=bmc.place)
    return BmcRefused(
        f"the BMC at {bmc.place} refused to {doing}: {fault}; see whether the machine's present state and the BMC's "
        "firmware allow it",
        object=bmc.place,
    )
