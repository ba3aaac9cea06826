"""What the rules of DHCPv6 ask of one message: which addresses its client has, may have and is given.

An address is free for a client as in DHCPv4: no one else's offer or lease on it runs, it is not in quarantine, and it
is not reserved for another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from provisioner.clients6 import Arrival6, Client6, Network6
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6, Option, Relayed
from provisioner.wire.dhcp6_options import (
    IA_NA,
    IA_PD,
    IA_TA,
    STATUS_CODE,
    IaAddress,
    IaNa,
    Status,
    decode_ia,
    encode_ia,
    encode_status,
    hostname_of,
)

# As in DHCPv4: longer than any firmware takes to take up an offer.
OFFER_HOLD = timedelta(seconds=60)

# More than any host has; each may cost an address, and a datagram has room for a thousand.
MOST_ASSOCIATIONS = 8
MOST_ADDRESSES = 8


class AddressView6(Protocol):
    """What is known of addresses at the moment of a decision."""

    def networks(self, addresses: Sequence[str]) -> Sequence[Network6]:
        """The enabled subnets on the link where one of these addresses is: those that cover one, and their kin."""

    def lease(self, address: str) -> Lease | None:
        """The running offer of the address, else its last lease, in any state."""

    def leases_of(self, client: Client6) -> Sequence[Lease]:
        """The leases and offers whose last holder is this client."""

    def reservation(self, address: str) -> Reservation | None:
        """For whom the address is reserved."""

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        """What is reserved for this MAC."""

    def mac_of(self, duid: bytes) -> str:
        """The MAC that is known to belong to the DUID, or ''."""

    def free_address(
        self, network: Network6, picker: Picker, now: datetime, without: Collection[str], client: Client6
    ) -> str:
        """A pool address that nobody holds or has reserved, by this picker; empty when there is none."""


class Decision6(Struct, frozen=True, kw_only=True):
    """What to do with a message. `reply` None is silence; `reason` is one of few texts, `detail` names the thing.

    `associations` are the options that answer the client's. `changes` are leases to save before a REPLY may go;
    `held` are offers, kept in memory only; of `withdrawn` addresses the offers end. `granted` are the addresses given.
    """

    client: Client6 = Client6(b"")
    reply: MessageType6 | None = None
    reason: str = ""
    detail: str = ""
    network: Network6 | None = None
    reservation: Reservation | None = None
    associations: tuple[Option, ...] = ()
    granted: tuple[str, ...] = ()
    lease_seconds: int = 0
    rapid: bool = False
    selecting: bool = False
    informs: bool = False
    changes: tuple[Lease, ...] = ()
    held: tuple[Lease, ...] = ()
    withdrawn: tuple[str, ...] = ()

    @property
    def configures(self) -> bool:
        """Whether the reply tells of the network and of booting, and not only how it went."""
        return bool(self.granted) or self.informs


def runs(lease: Lease, now: datetime) -> bool:
    """Whether somebody holds the address by this lease."""
    return lease.expires_at > now and lease.state in (LeaseState.OFFERED, LeaseState.ACKED)


class Case:
    """One message on one of our links, and the questions that the rules ask about it."""

    def __init__(
        self,
        relayed: Relayed,
        client: Client6,
        arrival: Arrival6,
        view: AddressView6,
        now: datetime,
        networks: Sequence[Network6],
    ) -> None:
        self.relayed = relayed
        self.message: Dhcp6Message = relayed.message
        self.client = client
        self.arrival = arrival
        self.view = view
        self.now = now
        self.networks = networks
        self.associations = [decode_ia(value) for value in self.message.every(IA_NA)[:MOST_ASSOCIATIONS]]
        self.given: dict[str, tuple[Network6, Reservation | None, IaNa]] = {}

    def silence(self, reason: str, detail: str = "", withdrawn: tuple[str, ...] = ()) -> Decision6:
        return Decision6(
            client=self.client, reason=reason, detail=detail, network=self.networks[0], withdrawn=withdrawn
        )

    # --- whose is it ------------------------------------------------------------------------------------------

    def client_id(self, ia: IaNa) -> str:
        return f"{self.client.duid.hex()}/{ia.iaid}"

    def owns(self, lease: Lease, ia: IaNa) -> bool:
        """Whether the lease is this client's, for this association."""
        client = self.client
        duid, _, iaid = lease.client_id.partition("/")
        same_duid = duid == client.duid.hex()
        if lease.mac != client.mac or not (client.mac or same_duid):
            return False
        if same_duid and iaid != ia.iaid:
            # Two associations in one message are two; over time, firmware makes up a new IAID at each boot.
            return client.exact and iaid not in {each.iaid for each in self.associations}
        return True

    def free_for_client(self, address: str, ia: IaNa) -> bool:
        """Whether nobody else's claim on the address runs."""
        lease = self.view.lease(address)
        if lease is None or lease.state is LeaseState.EXPIRED or lease.expires_at <= self.now:
            return True
        return lease.state is not LeaseState.QUARANTINED and self.owns(lease, ia)

    def reserved_for_client(self, address: str) -> bool:
        reservation = self.view.reservation(address)
        return reservation is not None and bool(self.client.mac) and reservation.mac == self.client.mac

    def network(self, address: str) -> Network6 | None:
        return next((each for each in self.networks if each.covers(address)), None)

    def may_have(self, address: str, ia: IaNa) -> bool:
        """Whether the client can be given this address: of the pool, or reserved for it."""
        found = self.network(address)
        if found is None or address in self.given or address in self.arrival.addresses:
            return False
        anybodys = self.view.reservation(address) is None and found.pools(address)
        return (anybodys or self.reserved_for_client(address)) and self.free_for_client(address, ia)

    def reserved_address(self, ia: IaNa) -> str:
        """What is reserved for the client on this link and can be had now."""
        if not self.client.mac:
            return ""
        reserved = (each.address for each in self.view.reservations_of(self.client.mac) if ":" in each.address)
        return next((each for each in reserved if self.may_have(each, ia)), "")

    def mine(self, ia: IaNa) -> list[Lease]:
        """The client's leases that this association may have again: its own first, then the newest of its MAC."""
        exact = self.client_id(ia)
        leases = [
            each for each in self.view.leases_of(self.client) if self.owns(each, ia) and self.may_have(each.address, ia)
        ]
        return sorted(leases, key=lambda each: (each.client_id == exact, each.expires_at), reverse=True)

    def choose(self, ia: IaNa, named_first: bool = False) -> str:
        """An address for the association, '' when there is none."""
        hints = [each.address for each in ia.addresses[:MOST_ADDRESSES] if self.may_have(each.address, ia)]
        if address := self.reserved_address(ia):
            return address
        if named_first and hints:
            return hints[0]
        if leases := self.mine(ia):
            return leases[0].address
        return self._picked(hints)

    def _picked(self, hints: Sequence[str]) -> str:
        for network in self.networks:
            for picker in network.subnet.pickers:
                if picker is Picker.NONE:
                    break
                if picker is Picker.HINT:
                    address = next((each for each in hints if network.covers(each)), "")
                else:
                    without = {*self.given, *self.arrival.addresses}
                    address = self.view.free_address(network, picker, self.now, without, self.client)
                if address:
                    return address
        return ""

    def give(self, address: str, ia: IaNa) -> None:
        found = self.network(address)
        assert found is not None
        reservation = self.view.reservation(address) if self.reserved_for_client(address) else None
        self.given[address] = found, reservation, ia

    # --- answers ----------------------------------------------------------------------------------------------

    def seconds(self, address: str) -> int:
        network, reservation, _ = self.given[address]
        return network.subnet.reserved_lease_seconds if reservation else network.subnet.lease_seconds

    def association(self, ia: IaNa, gone: Sequence[str] = (), status: Status | None = None, why: str = "") -> Option:
        """The answer to one association: what it was given, and what it has lost."""
        here = [address for address, (_, _, whose) in self.given.items() if whose is ia]
        if not here:
            dead = tuple(IaAddress(each) for each in gone)
            return IA_NA, encode_ia(IaNa(ia.iaid, 0, 0, dead, status, why))
        valid = min(self.seconds(each) for each in here)
        subnet = self.given[here[0]][0].subnet
        # RFC 8415 section 21.4 recommends 0.5 and 0.8; T1 beyond T2 makes clients drop the whole association.
        rebind = min(subnet.rebind_seconds or valid * 4 // 5, valid)
        renew = min(subnet.renew_seconds or valid // 2, rebind)
        addresses = [IaAddress(each, self.seconds(each), self.seconds(each)) for each in here]
        return IA_NA, encode_ia(IaNa(ia.iaid, renew, rebind, (*addresses, *(IaAddress(each) for each in gone))))

    def refusals(self) -> Iterator[Option]:
        """Answers to what we never give."""
        for code, status, why in (
            (IA_TA, Status.NO_ADDRESSES, "no temporary addresses here"),
            (IA_PD, Status.NO_PREFIX, "no prefixes here"),
        ):
            for value in self.message.every(code)[:MOST_ASSOCIATIONS]:
                body = value[:4] if code == IA_TA else value[:4] + bytes(8)
                refusal = encode_status(status, why)
                if len(value) >= 4:
                    yield code, body + STATUS_CODE.to_bytes(2) + len(refusal).to_bytes(2) + refusal

    def lease(self, address: str, state: LeaseState, seconds: int) -> Lease:
        network, _, ia = self.given[address]
        relay = next((each for each in reversed(self.relayed.relays) if each.link != "::"), None)
        return Lease(
            address=address,
            mac=self.client.mac,
            state=state,
            expires_at=self.now + timedelta(seconds=seconds),
            seconds=seconds,
            subnet=network.subnet.name,
            hostname=hostname_of(self.message),
            via=relay.link if relay is not None else "",
            client_id=self.client_id(ia),
        )

    def held(self) -> tuple[Lease, ...]:
        """What to remember so that nobody else is offered these addresses for a while."""
        offers = [self.lease(each, LeaseState.OFFERED, int(OFFER_HOLD.total_seconds())) for each in self.given]
        return tuple(each for each in offers if not self._outlasts(each))

    def _outlasts(self, offer: Lease) -> bool:
        lease = self.view.lease(offer.address)
        return lease is not None and lease.state is LeaseState.ACKED and lease.expires_at >= offer.expires_at

    def offered(self) -> tuple[str, ...]:
        """The addresses that the client was offered here."""
        offers = (each for each in self.view.leases_of(self.client) if each.state is LeaseState.OFFERED)
        return tuple(each.address for each in offers if self.network(each.address) is not None)

    def ended(self, lease: Lease) -> Lease:
        return replace(lease, state=LeaseState.EXPIRED, expires_at=self.now)

    def running(self, address: str, ia: IaNa) -> Lease | None:
        """The client's own offer or lease on this address, if it still runs."""
        lease = self.view.lease(address)
        return lease if lease is not None and runs(lease, self.now) and self.owns(lease, ia) else None

    def answer(self, associations: Sequence[Option], **more: object) -> Decision6:
        """Reply with these associations, and whatever was given saved."""
        first = next(iter(self.given.values()), (self.networks[0], None, None))
        return Decision6(
            client=self.client,
            network=first[0],
            reservation=first[1],
            associations=(*associations, *self.refusals()),
            granted=tuple(self.given),
            lease_seconds=min((self.seconds(each) for each in self.given), default=0),
            **more,  # type: ignore[arg-type]
        )

    def saved(self, gone: Sequence[Lease] = ()) -> tuple[Lease, ...]:
        """The leases of what was given, and the ends of what was lost."""
        return (
            *(self.lease(each, LeaseState.ACKED, self.seconds(each)) for each in self.given),
            *(self.ended(each) for each in gone),
        )
