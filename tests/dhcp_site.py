"""A server's decisions over time, on a plain view: for tests of the rules of addresses."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from provisioner.leases import Decision, decide
from provisioner.links import Arrival
from provisioner.model.addresses import LeaseState, Reservation, Subnet
from provisioner.wire.dhcp import DhcpMessage, MessageType
from tests.dhcp_messages import SERVER, discover, select
from tests.fakes.address_view import PlainView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Arrival(SERVER, "eth0")
UNICAST = Arrival(SERVER, "eth0", broadcast=False)
SUBNET = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.13", gateway="10.77.0.254")
OTHER = Subnet(name="hall", cidr="10.9.0.0/24", pool_start="10.9.0.10", pool_end="10.9.0.19")
OFFER, ACK, NAK = MessageType.OFFER, MessageType.ACK, MessageType.NAK


class Site:
    """A server's decisions over time."""

    def __init__(self, *reservations: Reservation, subnets: Iterable[Subnet] = (SUBNET, OTHER)) -> None:
        self.view = PlainView(subnets, reservations)
        self.now = NOW

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def hear(self, message: DhcpMessage, arrival: Arrival = HERE) -> Decision:
        """Decide, and make it so."""
        return self.view.save(decide(message, arrival, self.view, self.now), self.now)

    def lease(self, client: int, hint: str = "") -> str:
        """The address that a client gets by DISCOVER and REQUEST."""
        offer = self.hear(discover(client, hint))
        assert self.hear(select(client, offer.address)).reply is ACK
        return offer.address

    def state(self, address: str) -> LeaseState:
        """Where the lease of this address stands."""
        return self.view.leases[address].state
