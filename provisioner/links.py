"""Where a DHCP client is: subnets with their addresses as numbers, the links that they share, and who says so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from provisioner.model.addresses import Picker, Subnet
from provisioner.native import Native
from provisioner.remembered import Remembered
from provisioner.wire.dhcp import DhcpMessage, address_packed, address_shown
from provisioner.wire.dhcp_options import RELAY_INFORMATION, SERVER_ID, SUBNET_SELECTION, relay_address

# RFC 3527, RFC 5107: what a relay says about the client's network and the address it wants us to be known by.
_LINK_SELECTION: Final = 5
_SERVER_OVERRIDE: Final = 11


class Network(Native):
    """A subnet with its addresses as numbers. `barred` are pool addresses that belong to routers and servers.

    `pickers` are those that find an address for a newcomer here: none in a pool that is for nobody.
    """

    __match_args__ = ("subnet", "first", "last", "pool_first", "pool_last", "barred", "pickers")

    def __init__(
        self,
        subnet: Subnet,
        first: int,
        last: int,
        pool_first: int,
        pool_last: int,
        barred: frozenset[int],
        pickers: tuple[Picker, ...] = (),
    ) -> None:
        self.subnet: Final = subnet
        self.first: Final = first
        self.last: Final = last
        self.pool_first: Final = pool_first
        self.pool_last: Final = pool_last
        self.barred: Final = barred
        self.pickers: Final = pickers

    def covers(self, address: str) -> bool:
        """Whether the address lies in the subnet."""
        return self.first <= number(address) <= self.last

    def pools(self, address: str) -> bool:
        """Whether the address is one of those handed out to anybody."""
        value = number(address)
        return self.pool_first <= value <= self.pool_last and value not in self.barred


class Link(Native):
    """What one client can be on: the subnet that its request came from, and those that share its link.

    With a `proxy` subnet among them another server gives the addresses there. `pickers` are those of all, in order:
    those of `here` first.
    """

    __match_args__ = ("here", "networks", "proxy", "pickers")

    def __init__(self, here: Network, networks: tuple[Network, ...], proxy: bool, pickers: tuple[Picker, ...]) -> None:
        self.here: Final = here
        self.networks: Final = networks
        self.proxy: Final = proxy
        self.pickers: Final = pickers

    def covering(self, address: str) -> Network | None:
        """The subnet of this link that the address lies in."""
        value = number(address)
        here = self.here
        if here.first <= value <= here.last:
            return here
        for each in self.networks:
            if each.first <= value <= each.last:
                return each
        return None


class Networks:
    """The enabled IPv4 subnets and their links, found by address in O(log n).

    A subnet with addresses that are none disables only itself: it is one of the `unusable`.
    """

    def __init__(self, subnets: Iterable[Subnet]) -> None:
        found: list[Network] = []
        self.unusable: list[Subnet] = []
        for subnet in subnets:
            if subnet.enabled and ":" not in subnet.cidr:
                try:
                    found.append(network(subnet))
                except ValueError:
                    self.unusable.append(subnet)
        self._all = sorted(found, key=lambda each: each.first)
        self._firsts = [each.first for each in self._all]
        shared: dict[str, list[Network]] = {}
        for each in self._all:
            if each.subnet.shared_network:
                shared.setdefault(each.subnet.shared_network, []).append(each)
        self._links = [_link(each, shared.get(each.subnet.shared_network, [])) for each in self._all]

    def __iter__(self) -> Iterator[Network]:
        return iter(self._all)

    def link(self, address: str) -> Link | None:
        """The link that the address is on."""
        value = number(address)
        place = bisect_right(self._firsts, value) - 1
        if place < 0 or value > self._all[place].last:
            return None
        return self._links[place]

    def covering(self, address: str) -> Network | None:
        """The subnet that the address lies in."""
        found = self.link(address)
        return found.here if found is not None else None


def _link(here: Network, sharing: list[Network]) -> Link:
    networks = (here, *(each for each in sharing if each is not here))
    pickers = dict.fromkeys(picker for each in networks for picker in each.pickers)
    return Link(here, networks, any(each.subnet.proxy for each in networks), tuple(pickers))


def number(address: str) -> int:
    """An IPv4 address as a number."""
    return _NUMBERS.of(address)


def address_text(value: int) -> str:
    """A number as an IPv4 address."""
    return address_shown(value.to_bytes(4))


def _read(address: str) -> int:
    return int.from_bytes(address_packed(address))


# The same few addresses are asked about a dozen times for each message.
_NUMBERS: Final = Remembered(_read, 4096)


def network(subnet: Subnet) -> Network:
    """The subnet with its addresses as numbers; ValueError when they are none."""
    cidr = IPv4Network(subnet.cidr)
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    pool_first, pool_last = 1, 0
    if subnet.pool_start and subnet.pool_end:
        pool_first, pool_last = int(IPv4Address(subnet.pool_start)), int(IPv4Address(subnet.pool_end))
    servers = (subnet.gateway, subnet.next_server, *subnet.dns_servers)
    barred = {first, last} if cidr.prefixlen < 31 else set()
    barred |= {int(IPv4Address(each)) for each in servers if each}
    return Network(subnet, first, last, pool_first, pool_last, frozenset(barred), _pickers(subnet))


def _pickers(subnet: Subnet) -> tuple[Picker, ...]:
    if subnet.only_reservations or not subnet.pool_start:
        return ()
    given = subnet.pickers
    return given[: given.index(Picker.NONE)] if Picker.NONE in given else given


class Arrival(Native):
    """How a message reached us: our address there, the interface, and whether it was sent to everybody.

    `also` are the interface's further addresses, `elsewhere` those of our other interfaces.
    """

    __match_args__ = ("address", "interface", "broadcast", "also", "elsewhere")

    def __init__(
        self,
        address: str,
        interface: str = "",
        broadcast: bool = True,
        also: tuple[str, ...] = (),
        elsewhere: tuple[str, ...] = (),
    ) -> None:
        self.address: Final = address
        self.interface: Final = interface
        self.broadcast: Final = broadcast
        self.also: Final = also
        self.elsewhere: Final = elsewhere

    @property
    def ours(self) -> tuple[str, ...]:
        """Our addresses: nobody else can have them."""
        return (self.address, *self.also, *self.elsewhere)

    def has(self, address: str) -> bool:
        """Whether the address is one of ours."""
        return address == self.address or address in self.also or address in self.elsewhere


def placed(message: DhcpMessage, arrival: Arrival, link: Callable[[str], Link | None]) -> Arrival:
    """The arrival with that of our addresses that is meant: the one that the client names as its server, else the
    first on the interface that a subnet covers.

    A message that says itself where it comes from means the address that it was sent to, unless it names another: a
    relay with two addresses of ours sends everything to both, and its client has chosen one of them. Without a relay
    one of another interface cannot be meant: the message is heard there too.
    """
    if message.giaddr and SERVER_ID not in message.options:
        return arrival
    named = message.address_option(SERVER_ID)
    here = (arrival.address, *arrival.also)
    if named and named in (arrival.ours if message.giaddr else here):
        meant = named
    elif message.giaddr or not arrival.broadcast:
        return arrival
    else:
        meant = next((each for each in here if link(each) is not None), arrival.address)
    if meant == arrival.address:
        return arrival
    return Arrival(
        meant,
        arrival.interface,
        arrival.broadcast,
        also=tuple(each for each in here if each != meant),
        elsewhere=tuple(each for each in arrival.elsewhere if each != meant),
    )


def client_link(message: DhcpMessage, arrival: Arrival) -> str:
    """An address on the client's network: what its relay says, or its own when it renews by unicast, or ours.

    Through a relay, or as one, it may select a subnet itself (RFC 3011); what the relay selects goes before that.
    """
    if message.giaddr:
        options = message.options
        if SUBNET_SELECTION in options and selects_subnet(message):
            return message.address_option(SUBNET_SELECTION)
        selected = relay_address(message, _LINK_SELECTION) if RELAY_INFORMATION in options else ""
        return selected or message.giaddr
    if message.ciaddr and not arrival.broadcast:
        return message.ciaddr
    return arrival.address


def selects_subnet(message: DhcpMessage) -> bool:
    """Whether the subnet that the client itself selects is the one that counts."""
    if SUBNET_SELECTION not in message.options or not message.giaddr:
        return False
    return message.address_option(SUBNET_SELECTION) != "" and not relay_address(message, _LINK_SELECTION)


def server_id(message: DhcpMessage, arrival: Arrival) -> str:
    """The address by which this client shall know us."""
    return (relay_address(message, _SERVER_OVERRIDE) if message.giaddr else "") or arrival.address
