"""What a subnet or a reservation must be by itself: each field makes sense, and fits the others.

What they must be beside the others there are is in `provisioner.conductor.network_checks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from msgspec.structs import replace

from provisioner.errors import FieldError, Invalid
from provisioner.identity import normal_mac
from provisioner.model.addresses import Picker, Reservation, Subnet
from provisioner.option_templates import OptionTemplates, Problem
from provisioner.wire import dhcp6_text

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SHORTEST_LEASE_SECONDS = 60
# 32 bits; all ones mean for ever (RFC 2131, section 3.3).
_LONGEST_LEASE_SECONDS = 0xFFFF_FFFF
_LONGEST_NAME = 100
# RFC 1123, section 2.1, and the underscore that Windows and some switches have in theirs.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
# Addresses of a network that no host can have: in IPv6 the first is every router's (RFC 4291 section 2.6.1).
_NO_HOSTS: dict[int, Callable[[Network], tuple[Address, ...]]] = {
    # RFC 3021: with two addresses or one, all are hosts.
    4: lambda network: (network.network_address, network.broadcast_address) if network.prefixlen < 31 else (),
    6: lambda network: (network.network_address,),
}


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


def checked_reservation(reservation: Reservation) -> Reservation:
    """The reservation if it makes sense, its address and MAC written as usual; raises Invalid naming a wrong field."""
    address = _address(reservation.address, "address")
    reservation = replace(reservation, address=str(address), mac=normal_mac(reservation.mac, "mac"))
    if reservation.next_server:
        _address(reservation.next_server, "next_server", address.version)
    _check_host_name("hostname", reservation.hostname)
    _check_options(reservation.options, address.version)
    return reservation


def _check_pool(subnet: Subnet, network: Network) -> None:
    if bool(subnet.pool_start) != bool(subnet.pool_end):
        raise invalid("pool_end", "a pool has a start and an end, or neither")
    if not subnet.pool_start:
        return
    start, end = (_address(getattr(subnet, name), name, network.version) for name in ("pool_start", "pool_end"))
    for name, address in (("pool_start", start), ("pool_end", end)):
        if not is_host(address, network):
            raise invalid(name, f"{address} is not a host address inside {network}")
    if int(start) > int(end):
        raise invalid("pool_end", f"{end} comes before pool_start {start}")


def _check_gateway(subnet: Subnet, network: Network) -> None:
    if subnet.gateway and _address(subnet.gateway, "gateway", network.version) not in network:
        raise invalid("gateway", f"{subnet.gateway} is not inside {network}")


def _check_dns_servers(subnet: Subnet, network: Network) -> None:
    for server in subnet.dns_servers:
        _address(server, "dns_servers", network.version)


def _check_next_server(subnet: Subnet, network: Network) -> None:
    if subnet.next_server:
        _address(subnet.next_server, "next_server", network.version)


def _check_lease_times(subnet: Subnet, network: Network) -> None:
    for name in ("lease_seconds", "reserved_lease_seconds"):
        if getattr(subnet, name) < _SHORTEST_LEASE_SECONDS:
            raise invalid(name, f"{getattr(subnet, name)} is less than {_SHORTEST_LEASE_SECONDS} seconds")
        if getattr(subnet, name) > _LONGEST_LEASE_SECONDS:
            raise invalid(name, f"{getattr(subnet, name)} is more than {_LONGEST_LEASE_SECONDS} seconds")
    _check_renewal(subnet)


def _check_shared_network(subnet: Subnet, network: Network) -> None:
    if len(subnet.shared_network) > _LONGEST_NAME or subnet.shared_network != subnet.shared_network.strip():
        raise invalid("shared_network", f"at most {_LONGEST_NAME} letters, without blanks around them")


def _network(subnet: Subnet) -> Network:
    """The subnet's network, with what only one of the two families can have checked."""
    try:
        network = ip_network(subnet.cidr)
    except ValueError as error:
        raise invalid("cidr", _no_network(subnet.cidr)) from error
    if "/" not in subnet.cidr:
        raise invalid("cidr", f"say how large the network of {network.network_address} is, as in {_EXAMPLES}")
    if network.version == 4 and subnet.router_advertisements:
        raise invalid("router_advertisements", f"{network} is not an IPv6 network, which alone has such")
    if network.version == 6 and subnet.proxy:
        raise invalid("proxy", f"{network} is an IPv6 network: beside another DHCPv6 server there is no proxy")
    if network.version == 6 and (network.is_link_local or network.is_multicast or network.is_loopback):
        raise invalid("cidr", f"{network} has no addresses that could be given out")
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


def check_name(name: str) -> None:
    """Raise Invalid for what cannot be the name of a subnet."""
    # What no path leads to could be neither changed nor removed: our routes take no braces.
    reachable = name not in ("", ".", "..") and not set("/{}") & set(name)
    if not reachable or len(name) > _LONGEST_NAME or name != name.strip() or not name.isprintable():
        what = repr(name[:_LONGEST_NAME]) if name else "''"
        message = (
            f"{what} is no name for a subnet: 1 to {_LONGEST_NAME} letters, without / {{ }} and blanks around them"
        )
        raise invalid("name", message)


def _check_host_name(field: str, text: str) -> None:
    """Raise Invalid for what no system takes for a name, or for a domain."""
    if text and (not _HOST_NAME.fullmatch(text) or ".." in text):
        raise invalid(field, f"{text!r} is no name: letters, digits, hyphens, and dots between its parts")


def is_host(address: Address, network: Network) -> bool:
    """Whether a host of this network can have the address."""
    return address in network and address not in _NO_HOSTS[network.version](network)


def _check_renewal(subnet: Subnet) -> None:
    """T1 before T2 before the end of the shorter lease (RFC 2131, section 4.4.5)."""
    lease = min(subnet.lease_seconds, subnet.reserved_lease_seconds)
    for name in ("renew_seconds", "rebind_seconds"):
        if not 0 <= getattr(subnet, name) < lease:
            message = f"{getattr(subnet, name)} is not between 0 (by the lease time) and {lease - 1}, within the lease"
            raise invalid(name, message)
    if subnet.rebind_seconds and subnet.renew_seconds >= subnet.rebind_seconds:
        raise invalid("rebind_seconds", f"{subnet.rebind_seconds} is not after renew_seconds {subnet.renew_seconds}")
    if not subnet.rebind_seconds and subnet.renew_seconds >= lease * 7 // 8:
        raise invalid("renew_seconds", f"{subnet.renew_seconds} is not before rebinding, {lease * 7 // 8} by default")


def _check_pickers(pickers: tuple[Picker, ...]) -> None:
    choices = ", ".join(Picker)
    if not pickers:
        raise invalid("pickers", f"name at least one of: {choices} ({Picker.NONE} alone gives out nothing)")
    if len(set(pickers)) < len(pickers):
        raise invalid("pickers", "name each of them once")
    if Picker.NONE in pickers[:-1]:
        raise invalid("pickers", f"{Picker.NONE} ends the search: it can only be the last")


def _check_options(options: Mapping[str, str], version: int, subnet: Subnet | None = None) -> None:
    """Raise Invalid naming each option that is unknown in DHCP of this IP version, or has a wrong value."""
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


def _address(text: str, name: str, version: int = 0) -> Address:
    """The address that the field `name` has, of this version if one is given; raises Invalid."""
    wanted = f"an IPv{version} address" if version else "an IP address"
    try:
        address = ip_address(text)
    except ValueError as error:
        raise invalid(name, f"{text!r} is not {wanted}") from error
    if version not in (0, address.version) or (isinstance(address, IPv6Address) and address.scope_id):
        raise invalid(name, f"{text!r} is not {wanted}")
    return address


def invalid(name: str, message: str) -> Invalid:
    """What to raise for one wrong field."""
    return Invalid(f"{name}: {message}", fields=(FieldError(name, message),))


# What is asked of a subnet whose network makes sense; each check finds one fault.
_CHECKS: tuple[Callable[[Subnet, Network], None], ...] = (
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
