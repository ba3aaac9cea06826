"""Params of machines as lists filter by them, thousands at a time. Secure values are hidden from filters too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from provisioner.model.machines import Machine
from provisioner.params import REDACTED, ContentView, Params, is_sealed

Values = Callable[[str], Callable[[Any], Any]]


def own_values(view: ContentView) -> Values:
    """For a param's name, what takes a machine's own value of it."""

    def values(name: str) -> Callable[[Any], Any]:
        secure = _is_secure(name, view)

        def own(machine: Machine) -> Any:
            value = machine.params.get(name)
            return REDACTED if value is not None and (secure or is_sealed(value)) else value

        return own

    return values


def effective_values(view: ContentView) -> Values:
    """For a param's name, what takes the value that a machine has from anywhere: worked out once for those alike."""
    params = Params(view)

    def settled(machine: Machine, name: str) -> Any:
        found = params.resolve(machine).get(name)
        if found is None:
            return None
        return REDACTED if params.is_secure(name, found) else found.value

    def values(name: str) -> Callable[[Any], Any]:
        declared = view["params"].get(name)
        composed = declared is not None and declared.compose
        own = own_values(view)(name)
        shared: dict[tuple[tuple[str, ...], str], Any] = {}

        def value(machine: Machine) -> Any:
            if name in machine.params:
                return settled(machine, name) if composed else own(machine)
            alike = (machine.profiles, machine.stage)
            if alike not in shared:
                shared[alike] = settled(replace(machine, params={}), name)
            return shared[alike]

        return value

    return values


def shown_params(machine: Machine, params: Params) -> dict[str, Any]:
    """All params that a machine has from anywhere, secure ones hidden."""
    found = params.resolve(machine)
    return {name: REDACTED if params.is_secure(name, each) else each.value for name, each in found.items()}


def _is_secure(name: str, view: ContentView) -> bool:
    declared = view["params"].get(name)
    return declared is not None and declared.secure
