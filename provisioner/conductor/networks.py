"""Subnets and reservations as operators set them, checked before they count."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.dhcp_case import runs
from provisioner.errors import Conflict, FieldError, Invalid, NotFound
from provisioner.identity import normal_mac
from provisioner.leases import FOREVER
from provisioner.model.addresses import Lease, Picker, Reservation, Subnet
from provisioner.option_templates import OptionTemplates, Problem
from provisioner.sockets import local_addresses
from provisioner.wire import dhcp6_text

_SHORTEST_LEASE_SECONDS = 60
# 32 bits; all ones mean for ever (RFC 2131, section 3.3).
_LONGEST_LEASE_SECONDS = 0xFFFF_FFFF
_LONGEST_NAME = 100
# RFC 1123, section 2.1, and the underscore that Windows and some switches have in theirs.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


class Networks:
    """Changes subnets and reservations; `addresses` tells which are this server's own."""

    def __init__(self, ledger: Ledger, addresses: Callable[[], frozenset[str]] = local_addresses) -> None:
        self._ledger = ledger
        self._addresses = addresses

    async def put_subnet(self, subnet: Subnet, by: Principal, *, new: bool = False) -> Subnet:
        """Save a subnet; raises Invalid naming each wrong field, Conflict when it overlaps another."""
        subnet = checked_subnet(subnet)
        network = ip_network(subnet.cidr)
        old = self._ledger.get(Subnet, subnet.name)
        if old is None:
            _check_name(subnet.name)
        for other in self._ledger.all(Subnet):
            if other.name == subnet.name and new:
                message = f"there is a subnet {subnet.name!r} already"
                fields = (FieldError("name", message),)
                raise Conflict(message, object=subnet.name, fields=fields, code="name-taken")
            if other.name != subnet.name and _overlaps(ip_network(other.cidr), network):
                message = f"{subnet.cidr} overlaps subnet {other.name!r} ({other.cidr})"
                raise Conflict(message, object=other.name, fields=(FieldError("cidr", message),))
        self._refuse_reserved_gateway(subnet)
        if old is not None:
            self._refuse_reserved(old, but_in=network)
        tx = self._ledger.transaction(by=str(by))
        tx.put(subnet)
        tx.event("object.put", key=f"subnets/{subnet.name}")
        await tx.commit()
        return subnet

    def _refuse_reserved_gateway(self, subnet: Subnet) -> None:
        """Raise Conflict when the gateway's address is reserved: two hosts would have it."""
        gateway = str(ip_address(subnet.gateway)) if subnet.gateway else ""
        reserved = self._ledger.get(Reservation, gateway) if gateway else None
        if reserved is not None:
            message = f"{gateway} is reserved for {reserved.mac}"
            raise Conflict(
                f"gateway {message}",
                fields=(FieldError("gateway", message),),
                object=f"reservations/{gateway}",
                code="address-taken",
            )

    async def delete_subnet(self, name: str, by: Principal) -> Subnet:
        """Stop answering DHCP there; refused while addresses of it are reserved."""
        subnet = self._ledger.get(Subnet, name)
        if subnet is None:
            raise NotFound(f"there is no subnet {name!r}", object=name)
        self._refuse_reserved(subnet)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Subnet, name)
        tx.event("object.delete", key=f"subnets/{name}")
        await tx.commit()
        return subnet

    def _refuse_reserved(self, subnet: Subnet, but_in: IPv4Network | IPv6Network | None = None) -> None:
        """Raise Conflict while addresses in there are reserved: who has them would not get them any more.

        Those that lie in the network `but_in`, which takes its place, do not count.
        """
        network = ip_network(subnet.cidr)
        addresses = ((each.address, ip_address(each.address)) for each in self._ledger.all(Reservation))
        reserved = [text for text, each in addresses if each in network and (but_in is None or each not in but_in)]
        if reserved:
            more = f" and {len(reserved) - 10} more" if len(reserved) > 10 else ""
            raise Conflict(
                f"subnet {subnet.name!r} is in use by reservations {', '.join(sorted(reserved)[:10])}{more}",
                object=f"subnets/{subnet.name}",
                code="in-use",
            )

    async def put_reservation(self, reservation: Reservation, by: Principal, *, new: bool = False) -> Reservation:
        """Keep an address for one MAC; one that is kept already may pass to another MAC, by whoever names it."""
        address = _address(reservation.address, "address")
        reservation = replace(reservation, address=str(address), mac=normal_mac(reservation.mac, "mac"))
        old = self._ledger.get(Reservation, reservation.address)
        if old is not None and new:
            message = f"{old.address} is reserved for {old.mac} already"
            raise Conflict(message, object=old.address, fields=(FieldError("address", message),), code="address-taken")
        self._refuse_no_host(address)
        if reservation.address in self._addresses():
            raise _invalid("address", f"{address} is an address of this server: it is given to nobody else")
        self._refuse_second(reservation)
        if reservation.next_server:
            _address(reservation.next_server, "next_server", address.version)
        _check_host_name("hostname", reservation.hostname)
        _check_options(reservation.options, address.version)
        tx = self._ledger.transaction(by=str(by))
        tx.put(reservation)
        moved: dict[str, str] = {}
        if old is not None and old.mac != reservation.mac:
            moved["before"] = old.mac
            self._free_endless(tx, old)
        tx.event("object.put", mac=reservation.mac, key=f"reservations/{reservation.address}", **moved)
        await tx.commit()
        return reservation

    def _refuse_no_host(self, address: IPv4Address | IPv6Address) -> None:
        """Raise Invalid for an address that no client can have in its subnet."""
        for subnet in self._ledger.all(Subnet):
            network = ip_network(subnet.cidr)
            if address not in network:
                continue
            if address in _NO_HOSTS[network.version](network):
                raise _invalid("address", f"{address} is not a host address inside {network}")
            if subnet.gateway and address == ip_address(subnet.gateway):
                raise _invalid("address", f"{address} is the gateway of subnet {subnet.name!r}")

    def _refuse_second(self, reservation: Reservation) -> None:
        """Raise Conflict when the MAC has a reservation already that would be meant as well."""
        address = ip_address(reservation.address)
        here = self._subnet_of(address)
        for other in self._ledger.reservations_by_mac(reservation.mac):
            its = ip_address(other.address)
            if its == address or its.version != address.version or other.scoped is not reservation.scoped:
                continue
            if reservation.scoped and (not here or self._subnet_of(its) != here):
                continue
            where = f"in subnet {here!r}" if reservation.scoped else "that is not scoped"
            message = f"{reservation.mac} has a reservation {where} already: {other.address}"
            raise Conflict(
                message,
                fields=(FieldError("mac", message),),
                object=f"reservations/{other.address}",
                code="mac-taken",
            )

    def _subnet_of(self, address: IPv4Address | IPv6Address) -> str:
        covering = (each.name for each in self._ledger.all(Subnet) if address in ip_network(each.cidr))
        return next(covering, "")

    async def free_lease(self, address: str, by: Principal) -> Lease:
        """Let an address go, also one in quarantine. Its client is not told: who renews in time has it again."""
        lease = self._ledger.get(Lease, address)
        if lease is None:
            raise NotFound(f"there is no lease of {address!r}", object=f"leases/{address}")
        tx = self._ledger.transaction(by=str(by))
        _free(tx, lease)
        await tx.commit()
        return lease

    async def delete_reservation(self, address: str, by: Principal) -> Reservation:
        """Let an address go. Its lease runs on until its time is up.

        A lease without an end, as BOOTP clients have, ends with its reservation: nothing else would ever end it.
        """
        reservation = self._ledger.get(Reservation, address)
        if reservation is None:
            raise NotFound(f"there is no reservation of {address!r}", object=address)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Reservation, address)
        tx.event("object.delete", mac=reservation.mac, key=f"reservations/{address}")
        self._free_endless(tx, reservation)
        await tx.commit()
        return reservation

    def _free_endless(self, tx: Transaction, reservation: Reservation) -> None:
        """End the lease that was for ever by this reservation, which is no more."""
        lease = self._ledger.get(Lease, reservation.address)
        if lease is not None and lease.mac == reservation.mac and lease.seconds == FOREVER and runs(lease, tx.now):
            _free(tx, lease)


def _free(tx: Transaction, lease: Lease) -> None:
    tx.delete(Lease, lease.address)
    tx.event("object.delete", mac=lease.mac, key=f"leases/{lease.address}", state=lease.state.value)


def checked_subnet(subnet: Subnet) -> Subnet:
    """The subnet if it makes sense, its network written as usual; raises Invalid naming every wrong field."""
    network = _network(subnet)
    subnet = replace(subnet, cidr=str(network))
    faults: list[FieldError] = []
    for check in _CHECKS:
        try:
            check(subnet, network)
        except Invalid as error:
            faults.extend(error.fields)
    if faults:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in faults), fields=tuple(faults))
    return subnet


def _check_pool(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    if bool(subnet.pool_start) != bool(subnet.pool_end):
        raise _invalid("pool_end", "a pool has a start and an end, or neither")
    if not subnet.pool_start:
        return
    start, end = (_address(getattr(subnet, name), name, network.version) for name in ("pool_start", "pool_end"))
    for name, address in (("pool_start", start), ("pool_end", end)):
        if address not in network or address in _NO_HOSTS[network.version](network):
            raise _invalid(name, f"{address} is not a host address inside {network}")
    if int(start) > int(end):
        raise _invalid("pool_end", f"{end} comes before pool_start {start}")


def _check_gateway(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    if subnet.gateway and _address(subnet.gateway, "gateway", network.version) not in network:
        raise _invalid("gateway", f"{subnet.gateway} is not inside {network}")


def _check_dns_servers(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    for server in subnet.dns_servers:
        _address(server, "dns_servers", network.version)


def _check_next_server(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    if subnet.next_server:
        _address(subnet.next_server, "next_server", network.version)


def _check_lease_times(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    for name in ("lease_seconds", "reserved_lease_seconds"):
        if getattr(subnet, name) < _SHORTEST_LEASE_SECONDS:
            raise _invalid(name, f"{getattr(subnet, name)} is less than {_SHORTEST_LEASE_SECONDS} seconds")
        if getattr(subnet, name) > _LONGEST_LEASE_SECONDS:
            raise _invalid(name, f"{getattr(subnet, name)} is more than {_LONGEST_LEASE_SECONDS} seconds")
    _check_renewal(subnet)


def _check_shared_network(subnet: Subnet, network: IPv4Network | IPv6Network) -> None:
    if len(subnet.shared_network) > _LONGEST_NAME or subnet.shared_network != subnet.shared_network.strip():
        raise _invalid("shared_network", f"at most {_LONGEST_NAME} letters, without blanks around them")


def _network(subnet: Subnet) -> IPv4Network | IPv6Network:
    """The subnet's network, with what only one of the two families can have checked."""
    try:
        network = ip_network(subnet.cidr)
    except ValueError as error:
        raise _invalid("cidr", _no_network(subnet.cidr)) from error
    if "/" not in subnet.cidr:
        raise _invalid("cidr", f"say how large the network of {network.network_address} is, as in {_EXAMPLES}")
    if network.version == 4 and subnet.router_advertisements:
        raise _invalid("router_advertisements", f"{network} is not an IPv6 network, which alone has such")
    if network.version == 6 and subnet.proxy:
        raise _invalid("proxy", f"{network} is an IPv6 network: beside another DHCPv6 server there is no proxy")
    if network.version == 6 and (network.is_link_local or network.is_multicast or network.is_loopback):
        raise _invalid("cidr", f"{network} has no addresses that could be given out")
    return network


_EXAMPLES = "192.168.1.0/24 or fd00:1::/64"


def _no_network(text: str) -> str:
    """What is wrong with a network that cannot be read."""
    if not text.strip():
        return f"is missing; write a network such as {_EXAMPLES}"
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        return f"{text!r} is not a network such as {_EXAMPLES}"
    return f"{text} is an address in the network {meant}: write that"


def _check_name(name: str) -> None:
    # What no path leads to could be neither changed nor removed: our routes take no braces.
    reachable = name not in ("", ".", "..") and not set("/{}") & set(name)
    if not reachable or len(name) > _LONGEST_NAME or name != name.strip() or not name.isprintable():
        what = repr(name[:_LONGEST_NAME]) if name else "''"
        message = (
            f"{what} is no name for a subnet: 1 to {_LONGEST_NAME} letters, without / {{ }} and blanks around them"
        )
        raise _invalid("name", message)


def _check_host_name(field: str, text: str) -> None:
    """Refuse what no system takes for a name, or for a domain."""
    if text and (not _HOST_NAME.fullmatch(text) or ".." in text):
        raise _invalid(field, f"{text!r} is no name: letters, digits, hyphens, and dots between its parts")


def _overlaps(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)


# Addresses of a network that no host can have: in IPv6 the first is every router's (RFC 4291 section 2.6.1).
_NO_HOSTS: dict[int, Callable[[IPv4Network | IPv6Network], tuple[IPv4Address | IPv6Address, ...]]] = {
    # RFC 3021: with two addresses or one, all are hosts.
    4: lambda network: (network.network_address, network.broadcast_address) if network.prefixlen < 31 else (),
    6: lambda network: (network.network_address,),
}


def _check_renewal(subnet: Subnet) -> None:
    """T1 before T2 before the end of the shorter lease (RFC 2131, section 4.4.5)."""
    lease = min(subnet.lease_seconds, subnet.reserved_lease_seconds)
    for name in ("renew_seconds", "rebind_seconds"):
        if not 0 <= getattr(subnet, name) < lease:
            message = f"{getattr(subnet, name)} is not between 0 (by the lease time) and {lease - 1}, within the lease"
            raise _invalid(name, message)
    if subnet.rebind_seconds and subnet.renew_seconds >= subnet.rebind_seconds:
        raise _invalid("rebind_seconds", f"{subnet.rebind_seconds} is not after renew_seconds {subnet.renew_seconds}")
    if not subnet.rebind_seconds and subnet.renew_seconds >= lease * 7 // 8:
        raise _invalid("renew_seconds", f"{subnet.renew_seconds} is not before rebinding, {lease * 7 // 8} by default")


def _check_pickers(pickers: tuple[Picker, ...]) -> None:
    choices = ", ".join(Picker)
    if not pickers:
        raise _invalid("pickers", f"name at least one of: {choices} ({Picker.NONE} alone gives out nothing)")
    if len(set(pickers)) < len(pickers):
        raise _invalid("pickers", "name each of them once")
    if Picker.NONE in pickers[:-1]:
        raise _invalid("pickers", f"{Picker.NONE} ends the search: it can only be the last")


def _check_options(options: Mapping[str, str], version: int, subnet: Subnet | None = None) -> None:
    problems = OptionTemplates().problems(options, subnet) if version == 4 else _problems6(options)
    wrong = [FieldError(f"options.{name}", message) for name, message in problems]
    if wrong:
        raise Invalid(f"{wrong[0].path}: {wrong[0].message}", fields=tuple(wrong))


def _problems6(options: Mapping[str, str]) -> Iterator[Problem]:
    for name, text in options.items():
        try:
            dhcp6_text.encode_configured({name: text})
        except Invalid as error:
            yield Problem(name, error.message)


def _address(text: str, name: str, version: int = 0) -> IPv4Address | IPv6Address:
    """The address; of this version, if one is given."""
    wanted = f"an IPv{version} address" if version else "an IP address"
    try:
        address = ip_address(text)
    except ValueError as error:
        raise _invalid(name, f"{text!r} is not {wanted}") from error
    if version not in (0, address.version) or (isinstance(address, IPv6Address) and address.scope_id):
        raise _invalid(name, f"{text!r} is not {wanted}")
    return address


def _invalid(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", fields=(FieldError(name, message),))


# What is asked of a subnet whose network makes sense; each check finds one fault.
_CHECKS: tuple[Callable[[Subnet, IPv4Network | IPv6Network], None], ...] = (
    _check_pool,
    _check_gateway,
    _check_dns_servers,
    _check_next_server,
    lambda subnet, _: _check_host_name("domain", subnet.domain),
    _check_lease_times,
    lambda subnet, _: _check_pickers(subnet.pickers),
    _check_shared_network,
    lambda subnet, network: _check_options(subnet.options, network.version, subnet),
)
