"""Power drivers by name: a table of ours, then whatever the entry points of installed packages add."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from provisioner.errors import Invalid, unknown
from provisioner.power.driver import ACTIONS, Outcome, PowerDriver, bmc_from_params

DRIVERS: Mapping[str, str] = {"ipmi": "provisioner.power.ipmi:IpmiDriver"}

# A package adds a driver with an entry point of this group: name = "module:Class"; the class takes no arguments.
ENTRY_POINT_GROUP = "provisioner.power"


def installed_drivers() -> dict[str, str]:
    """Every driver's name and "module:Class"; ours win over a package's of the same name."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)} | dict(DRIVERS)


class PowerDrivers:
    """The drivers of one server, each made when first asked for; `made` are ready ones (tests)."""

    def __init__(self, table: Mapping[str, str], made: Mapping[str, PowerDriver] | None = None) -> None:
        self._table = table
        self._made = dict(made or {})

    @property
    def names(self) -> list[str]:
        """What `power/driver` may be."""
        return sorted({*self._table, *self._made})

    def get(self, name: str) -> PowerDriver:
        """The driver of that name; Invalid names those there are."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def reason_against(self, action: str, params: Mapping[str, Any]) -> str:
        """Why `action` cannot be offered for a machine with these resolved params; empty when it can."""
        try:
            self._check(action, bmc_from_params(params).driver)
        except Invalid as error:
            return error.message
        return ""

    async def perform(self, action: str, params: Mapping[str, Any], firmware: str = "") -> Outcome:
        """Do `action` on the machine with these resolved params; `firmware` is `uefi`, `bios` or unknown.

        Raises Invalid for an unknown action or driver and for missing params, else what the driver raises.
        """
        bmc = bmc_from_params(params)
        self._check(action, bmc.driver)
        return await ACTIONS[action].perform(self.get(bmc.driver), bmc, firmware == "uefi")

    async def close(self) -> None:
        """End every driver that was made."""
        for driver in self._made.values():
            await driver.close()

    def _check(self, action: str, driver: str) -> None:
        if action not in ACTIONS:
            raise Invalid(unknown("power action", action, ACTIONS))
        if driver not in self.names:
            raise Invalid(unknown("power driver", driver, self.names))

    def _make(self, name: str) -> PowerDriver:
        if name not in self._table:
            raise Invalid(unknown("power driver", name, self.names))
        module, _, attribute = self._table[name].partition(":")
        driver: PowerDriver = getattr(import_module(module), attribute)()
        return driver
