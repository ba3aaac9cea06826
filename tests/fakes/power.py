"""A power driver without BMCs: a rack in memory, with faults on order."""

from __future__ import annotations

from dataclasses import dataclass, field

from provisioner.errors import Conflict, PowerError
from provisioner.power.driver import Bmc, NextBoot, Outcome, PowerState

# Params that resolve to a BMC of this driver; give each machine another address.
PARAMS = {
    "power/driver": "fake",
    "power/address": "10.0.0.1",
    "power/username": "operator",
    "power/password": "correct horse",
}


@dataclass
class FakePower:
    """Keeps power and next boot by BMC address; a BMC is off until told otherwise.

    `faults` maps an address to what every request to it raises. `calls` tells what was asked, in order.
    """

    states: dict[str, PowerState] = field(default_factory=dict)
    next_boots: dict[str, tuple[NextBoot, bool, bool]] = field(default_factory=dict)
    faults: dict[str, PowerError] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    async def power_on(self, bmc: Bmc) -> Outcome:
        """On."""
        if self._asked("power-on", bmc) is PowerState.ON:
            return Outcome(PowerState.ON, "was on already")
        return self._set(bmc, PowerState.ON, "is on")

    async def power_off(self, bmc: Bmc, soft: bool = False) -> Outcome:
        """Off."""
        if self._asked("power-off-soft" if soft else "power-off", bmc) is PowerState.OFF:
            return Outcome(PowerState.OFF, "was off already")
        return self._set(bmc, PowerState.OFF, "is off")

    async def cycle(self, bmc: Bmc) -> Outcome:
        """On in the end."""
        was = self._asked("power-cycle", bmc)
        return self._set(bmc, PowerState.ON, "was off; is on" if was is PowerState.OFF else "was power-cycled; is on")

    async def reset(self, bmc: Bmc) -> Outcome:
        """Conflict when it is off."""
        if self._asked("power-reset", bmc) is PowerState.OFF:
            raise Conflict("it is off, so there is nothing to reset; power it on instead", object=bmc.place)
        return Outcome(PowerState.ON, "was reset; is on")

    async def status(self, bmc: Bmc) -> Outcome:
        """On or off."""
        state = self._asked("power-status", bmc)
        return Outcome(state, f"is {state.value}")

    async def set_next_boot(self, bmc: Bmc, device: NextBoot, uefi: bool, persist: bool = False) -> Outcome:
        """Remembered in `next_boots`."""
        state = self._asked(f"next-boot-{device}", bmc)
        self.next_boots[bmc.address] = (device, uefi, persist)
        return Outcome(state, f"boots from {device} next time")

    async def close(self) -> None:
        """Remembered in `closed`."""
        self.closed = True

    def _asked(self, what: str, bmc: Bmc) -> PowerState:
        self.calls.append((what, bmc.address))
        if bmc.address in self.faults:
            raise self.faults[bmc.address]
        return self.states.get(bmc.address, PowerState.OFF)

    def _set(self, bmc: Bmc, state: PowerState, message: str) -> Outcome:
        self.states[bmc.address] = state
        return Outcome(state, message)
