"""What each MAC has of one kind, leases or offers or reservations, in constant time however many they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar, overload

from provisioner.dhcp_case import Offer
from provisioner.model.addresses import Lease, Reservation

Entry = TypeVar("Entry", bound=Lease | Offer | Reservation)

# Up to so many are looked through one by one.
_FEW: Final = 8


class _Many(Sequence[Entry]):
    """What one MAC has that has more than a few: a router that answers for a whole pool has it all in quarantine."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_address = {each.address: each for each in entries}

    def put(self, entry: Entry) -> None:
        self._by_address[entry.address] = entry

    def remove(self, address: str) -> None:
        self._by_address.pop(address, None)

    def __len__(self) -> int:
        return len(self._by_address)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_address.values())

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return tuple(self)[index]


class ByMac(Generic[Entry]):
    """What each MAC has, one for each address, in the order that they came."""

    def __init__(self) -> None:
        # Nearly all have one, and a tuple of that takes a fifth of what a dict would.
        self._entries: dict[str, Sequence[Entry]] = {}

    def of(self, mac: str) -> Sequence[Entry]:
        """What this MAC has; only to be looked at, and at once."""
        return self._entries.get(mac, ())

    def put(self, entry: Entry) -> None:
        """Its MAC has this, in the place of what it had for the address."""
        held = self._entries.get(entry.mac, ())
        if not held or (len(held) == 1 and held[0].address == entry.address):
            self._entries[entry.mac] = (entry,)
        elif type(held) is _Many:
            held.put(entry)
        elif entry.address in [each.address for each in held]:
            self._entries[entry.mac] = tuple([entry if each.address == entry.address else each for each in held])
        else:
            self._entries[entry.mac] = (*held, entry) if len(held) < _FEW else _Many((*held, entry))

    def remove(self, entry: Entry) -> None:
        """Its MAC has nothing for the address any more."""
        held = self._entries.pop(entry.mac, ())
        if len(held) > 1:
            self._entries[entry.mac] = _without(held, entry.address)


def _without(held: Sequence[Entry], address: str) -> Sequence[Entry]:
    if type(held) is _Many and len(held) > _FEW:
        held.remove(address)
        return held
    return tuple([each for each in held if each.address != address])
