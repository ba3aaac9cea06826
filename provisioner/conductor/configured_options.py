"""DHCP options as operators set them for subnets and reservations, encoded once and kept.

The reservation's go before the subnet's. An option that cannot be encoded disables only itself, and is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from provisioner.frozen import Frozen
from provisioner.leases import Decision
from provisioner.links import Arrival
from provisioner.model.addresses import Subnet
from provisioner.model.machines import Machine
from provisioner.option_templates import OptionTemplates, Problem
from provisioner.wire.dhcp import DhcpMessage

log = structlog.get_logger(__name__)

_NONE: Final[dict[int, bytes]] = {}


class _Kept(Frozen, frozen=True):
    """Options that are the same for all, and the texts of those that are not."""

    fixed: dict[int, bytes]
    own: dict[str, str]


class ConfiguredOptions:
    """Values by option code. `forget` when subnets or reservations have changed."""

    def __init__(self, most_kept: int) -> None:
        self._most_kept = most_kept
        self._templates = OptionTemplates()
        self._kept: dict[tuple[str, str, str], _Kept] = {}
        self._told: set[tuple[str, str]] = set()

    def forget(self) -> None:
        """Drop what was encoded from an earlier configuration."""
        self._kept.clear()
        self._told.clear()

    def fixed(self, arrival: Arrival, decision: Decision) -> dict[int, bytes]:
        """What every client of this subnet (with this reservation) gets that reaches us at this address."""
        return self._for(arrival, decision).fixed

    def any_own(self, arrival: Arrival, decision: Decision) -> bool:
        """Whether anything differs from client to client."""
        return has_any(decision) and bool(self._for(arrival, decision).own)

    def own(
        self, request: DhcpMessage, arrival: Arrival, decision: Decision, machine: Machine | None
    ) -> dict[int, bytes]:
        """What differs from client to client."""
        if decision.network is None or not has_any(decision):
            return _NONE
        kept = self._for(arrival, decision)
        if not kept.own:
            return _NONE
        subnet, address = decision.network.subnet, decision.address or request.ciaddr
        options, problems = self._templates.own(kept.own, subnet, arrival.address, request, address, machine)
        self._tell(subnet, problems)
        return options

    def _for(self, arrival: Arrival, decision: Decision) -> _Kept:
        if decision.network is None:
            return _Kept(_NONE, {})
        subnet, reservation = decision.network.subnet, decision.reservation
        key = (subnet.name, reservation.address if reservation is not None else "", arrival.address)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= self._most_kept:
                self._kept.clear()
            texts = subnet.options | (reservation.options if reservation is not None else {})
            options, problems = self._templates.fixed(texts, subnet, arrival.address)
            self._tell(subnet, problems)
            own = {name: text for name, text in texts.items() if self._templates.is_own(text)}
            kept = self._kept[key] = _Kept(options, own)
        return kept

    def _tell(self, subnet: Subnet, problems: Sequence[Problem]) -> None:
        for option, message in problems:
            if (subnet.name, option) not in self._told:
                self._told.add((subnet.name, option))
                log.warning("dhcp.option-unusable", subnet=subnet.name, option=option, error=message)


def has_any(decision: Decision) -> bool:
    """Whether options are configured for this client's subnet or reservation."""
    network, reservation = decision.network, decision.reservation
    return bool(network is not None and network.subnet.options or reservation is not None and reservation.options)
