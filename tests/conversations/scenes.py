"""What operators set in a conversation: the lines that begin with `@`.

    @subnet NAME FIELD=VALUE ...             set these fields of a subnet, made if there is none (then with cidr=)
    @reservation ADDRESS FIELD=VALUE ...     the same for a reservation (then with mac=)
    @remove subnet NAME                      or `@remove reservation ADDRESS`, `@remove lease ADDRESS`

A list has commas between its items; an option is `options.NAME=VALUE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from provisioner.access import Principal, Who
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.networks import Networks
from provisioner.model.addresses import Lease, Reservation, Subnet

_KINDS: dict[str, tuple[type[Any], str]] = {
    "subnet": (Subnet, "name"),
    "reservation": (Reservation, "address"),
    "lease": (Lease, "address"),
}
_OPERATOR = Principal(Who.USER, "admin", "admin")
_LISTS = ("pickers", "dns_servers")


async def set_scene(ledger: Ledger, words: Sequence[str]) -> None:
    """Do what one line says; raises ValueError when it says nothing that we know."""
    tx = ledger.transaction(by="the scene")
    match words:
        case ["remove", "reservation", key]:
            await Networks(ledger).delete_reservation(key, _OPERATOR)
            return
        case ["remove", kind, key] if kind in _KINDS:
            tx.delete(_KINDS[kind][0], key)
        case ["subnet" | "reservation" as kind, key, *settings]:
            cls, name = _KINDS[kind]
            document = msgspec.to_builtins(ledger.get(cls, key) or {name: key})
            for each in settings:
                field, _, value = each.partition("=")
                outer, _, option = field.partition(".")
                if option:
                    document.setdefault(outer, {})[option] = value
                else:
                    document[field] = value.split(",") if field in _LISTS else value
            tx.put(msgspec.convert(document, cls, strict=False))
        case _:
            raise ValueError(words)
    await tx.commit()
