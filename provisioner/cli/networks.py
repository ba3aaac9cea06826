"""`provisioner subnets`, `reservations` and `leases`: whom DHCP gives which address."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from provisioner.cli.changing import confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine
from provisioner.services.ui_words import ago


def _list_subnets(session: Session) -> None:
    subnets = list(session.client().pages(at("subnets")))
    if session.output.as_json:
        session.output.json(subnets)
        return
    session.output.table(
        ("NAME", "NETWORK", "POOL", "GATEWAY", "DNS", "LEASE", "ENABLED"),
        (
            (
                each["name"],
                each["cidr"],
                f"{each['pool_start']} - {each['pool_end']}" if each["pool_start"] else "reservations only",
                each["gateway"],
                each["dns_servers"],
                f"{each['lease_seconds']} s",
                each["enabled"],
            )
            for each in subnets
        ),
        "no subnets: DHCP answers nobody; add one with `provisioner subnets add`",
    )


def _add_subnet(session: Session) -> None:
    options = session.options
    start, end = _pool(options.pool)
    subnet = {
        "name": options.name,
        "cidr": options.cidr,
        "pool_start": start,
        "pool_end": end,
        "gateway": options.gateway,
        "dns_servers": options.dns,
        "domain": options.domain,
        "next_server": options.next_server,
        "lease_seconds": options.lease_seconds,
        "options": dict(_pair(each) for each in options.option),
        "description": options.description,
    }
    made = session.client().send("POST", at("subnets"), {name: value for name, value in subnet.items() if value}).json()
    done(session, made, f"DHCP answers on {made['cidr']} as subnet {made['name']}")


def _pool(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    start, dash, end = (part.strip() for part in text.partition("-"))
    if not (start and dash and end):
        raise Failure(
            f"{text!r} is no pool", "write it as 10.0.0.100-10.0.0.200", Exit.USAGE, code="usage", object="--pool"
        )
    return start, end


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Failure(f"{text!r} is no DHCP option", "write it as 42=10.0.0.1", Exit.USAGE, code="usage")
    return name, value


def _delete_subnet(session: Session) -> Exit | None:
    name = session.options.name
    if not confirmed(session, f"delete subnet {name}?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("subnets", name)).json()
    done(session, gone, f"subnet {name} is removed; leases in it stay until they end")
    return None


def _list_leases(session: Session) -> None:
    client, options = session.client(), session.options
    leases = list(client.pages(at("leases")))
    if options.machine:
        macs = find_machine(client, options.machine)["macs"]
        leases = [each for each in leases if each["mac"] in macs]
    if session.output.as_json:
        session.output.json(leases)
        return
    names = {mac: each["name"] for each in client.pages(at("machines")) for mac in each["macs"]}
    session.output.table(
        ("ADDRESS", "MAC", "MACHINE", "STATE", "ENDS", "SUBNET", "HOSTNAME", "VIA"),
        (_lease_line(each, names, session) for each in sorted(leases, key=_by_address)),
        "no leases",
    )


def _lease_line(lease: dict[str, Any], names: dict[str, str], session: Session) -> tuple[object, ...]:
    ends = datetime.fromisoformat(lease["expires_at"])
    return (
        lease["address"],
        lease["mac"],
        names.get(lease["mac"], ""),
        lease["state"],
        ago(ends, session.terminal.now()),
        lease["subnet"],
        lease["hostname"],
        lease["via"],
    )


def _by_address(lease: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in lease["address"].split(".") if part.isdigit())


def _list_reservations(session: Session) -> None:
    reservations = list(session.client().pages(at("reservations")))
    if session.output.as_json:
        session.output.json(reservations)
        return
    session.output.table(
        ("ADDRESS", "MAC", "HOSTNAME", "BOOT FILE", "DESCRIPTION"),
        (
            (each["address"], each["mac"], each["hostname"], each["boot_file"], each["description"])
            for each in sorted(reservations, key=_by_address)
        ),
        "no reservations",
    )


def _add_reservation(session: Session) -> None:
    options = session.options
    reservation = {
        "address": options.address,
        "mac": options.mac,
        "hostname": options.hostname,
        "boot_file": options.boot_file,
        "description": options.description,
    }
    body = {name: value for name, value in reservation.items() if value}
    made = session.client().send("POST", at("reservations"), body).json()
    done(session, made, f"{made['address']} is kept for {made['mac']}")


def _delete_reservation(session: Session) -> Exit | None:
    address = session.options.address
    if not confirmed(session, f"keep {address} for nobody?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("reservations", address)).json()
    done(session, gone, f"{address} is kept for nobody any more")
    return None


_YES = argument("--yes", action="store_true", help="without asking")

SUBNETS = (
    Command("list", "the networks that DHCP answers on", _list_subnets),
    Command(
        "add",
        "let DHCP answer on a network",
        _add_subnet,
        (
            argument("name", metavar="NAME"),
            argument("cidr", metavar="CIDR", help="such as 10.0.0.0/24"),
            argument("--pool", default="", metavar="FIRST-LAST", help="handed out to anybody; none: reservations only"),
            argument("--gateway", default="", metavar="ADDRESS"),
            argument("--dns", action="append", default=[], metavar="ADDRESS", help="may be repeated"),
            argument("--domain", default="", metavar="NAME"),
            argument("--next-server", default="", metavar="ADDRESS", help="boot from another server"),
            argument("--lease-seconds", type=int, default=0, metavar="N", help="default: the server's"),
            argument("--option", action="append", default=[], metavar="CODE=VALUE", help="a further DHCP option"),
            argument("--description", default="", metavar="TEXT"),
        ),
    ),
    Command(
        "delete",
        "let DHCP answer there no more",
        _delete_subnet,
        (argument("name", metavar="NAME", complete="subnets"), _YES),
    ),
)

RESERVATIONS = (
    Command("list", "addresses kept for one MAC each", _list_reservations),
    Command(
        "add",
        "keep an address for a MAC",
        _add_reservation,
        (
            argument("address", metavar="ADDRESS"),
            argument("mac", metavar="MAC"),
            argument("--hostname", default="", metavar="NAME"),
            argument(
                "--boot-file", default="", metavar="FILE", help="default: by firmware; -: never netboot this host"
            ),
            argument("--description", default="", metavar="TEXT"),
        ),
    ),
    Command(
        "delete",
        "keep it no more",
        _delete_reservation,
        (argument("address", metavar="ADDRESS", complete="reservations"), _YES),
    ),
)

LEASES = (
    Command(
        "list",
        "addresses that were given out",
        _list_leases,
        (argument("--machine", metavar="MACHINE", help="only those of this machine"),),
    ),
)
