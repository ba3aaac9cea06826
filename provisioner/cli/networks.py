"""`provisioner reservations` and `leases`: whom DHCP gives which address."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Any

from provisioner.cli.changing import MERGE_PATCH, confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine
from provisioner.cli.output import as_yaml
from provisioner.cli.subnets import option, switch
from provisioner.leases import is_endless
from provisioner.model.addresses import LeaseState
from provisioner.services.ui_words import ago


def _list_leases(session: Session) -> None:
    client, options = session.client(), session.options
    leases = list(client.pages(at("leases")))
    if options.machine:
        macs = find_machine(client, options.machine)["macs"]
        leases = [each for each in leases if each["mac"] in macs]
    if options.state:
        leases = [each for each in leases if each["state"] == options.state]
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
    ends, now = datetime.fromisoformat(lease["expires_at"]), session.terminal.now()
    return (
        lease["address"],
        lease["mac"],
        names.get(lease["mac"], ""),
        lease["state"],
        "never" if is_endless(ends, now) else ago(ends, now),
        lease["subnet"],
        lease["hostname"],
        lease["via"],
    )


def _by_address(lease: dict[str, Any]) -> tuple[int, int]:
    address = ip_address(lease["address"])
    return address.version, int(address)


def _free_lease(session: Session) -> Exit | None:
    address = session.options.address
    if not confirmed(session, f"free {address}? Its client is not told, and goes on to use it"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("leases", address)).json()
    done(session, gone, f"{address} is free; {gone['mac'] or 'nobody'} had it")
    return None


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


def _show_reservation(session: Session) -> None:
    reservation = session.client().get(at("reservations", session.options.address))
    if session.output.as_json:
        session.output.json(reservation)
    else:
        session.output.text(as_yaml(reservation))


def _add_reservation(session: Session) -> None:
    _reserve(session, session.options.address, session.options.mac, _said(session))


def _reserve_lease(session: Session) -> None:
    """Keep the address for who has it now."""
    address = session.options.address
    lease = session.client().get(at("leases", address))
    if not lease["mac"]:
        raise Failure(f"nobody has {address}: it is {lease['state']}", code="no-holder", object=address)
    named = {"hostname": lease["hostname"]} if lease["hostname"] else {}
    _reserve(session, address, lease["mac"], named | _said(session))


def _reserve(session: Session, address: str, mac: str, said: dict[str, Any]) -> None:
    body = {"address": address, "mac": mac} | {name: value for name, value in said.items() if value != ""}
    made = session.client().send("POST", at("reservations"), body).json()
    done(session, made, f"{made['address']} is kept for {made['mac']}")


def _set_reservation(session: Session) -> None:
    address, said = session.options.address, _said(session)
    if session.options.mac:
        said = {"mac": session.options.mac} | said
    if not said:
        raise Failure("nothing is said that shall change", "see `provisioner reservations set --help`", Exit.USAGE)
    client = session.client()
    changed = client.send("PATCH", at("reservations", address), said, content_type=MERGE_PATCH).json()
    done(session, changed, f"the reservation of {address} is changed: {', '.join(said)}")


def _said(session: Session) -> dict[str, Any]:
    """The fields that the command line names; empty text clears one."""
    options = vars(session.options)
    names = ("hostname", "next_server", "boot_file", "description")
    said = {name: options[name] for name in names if options[name] is not None}
    if options["scoped"] is not None:
        said["scoped"] = options["scoped"] == "yes"
    if options["option"]:
        said["options"] = dict(option(each) for each in options["option"])
    return said


def _delete_reservation(session: Session) -> Exit | None:
    address = session.options.address
    if not confirmed(session, f"keep {address} for nobody?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("reservations", address)).json()
    done(session, gone, f"{address} is kept for nobody any more")
    return None


_YES = argument("--yes", action="store_true", help="without asking")
_RESERVED = argument("address", metavar="ADDRESS", complete="reservations")
_LEASED = argument("address", metavar="ADDRESS", complete="leases")
_FIELDS = (
    argument("--hostname", metavar="NAME"),
    argument("--next-server", metavar="ADDRESS", help="boot from another server"),
    argument(
        "--boot-file", metavar="FILE", help="a file, URL or loader; default: by firmware; -: never netboot this host"
    ),
    switch("--scoped", "no: what is said here holds wherever the MAC appears"),
    argument("--option", action="append", metavar="CODE=VALUE", help="a further DHCP option; without value: none"),
    argument("--description", metavar="TEXT"),
)

RESERVATIONS = (
    Command("list", "addresses kept for one MAC each", _list_reservations),
    Command("show", "one of them, with everything that is set", _show_reservation, (_RESERVED,)),
    Command(
        "add",
        "keep an address for a MAC",
        _add_reservation,
        (argument("address", metavar="ADDRESS"), argument("mac", metavar="MAC"), *_FIELDS),
    ),
    Command("from-lease", "keep an address for who has it now", _reserve_lease, (_LEASED, *_FIELDS)),
    Command(
        "set",
        "change what is said, and leave the rest; '' clears a field",
        _set_reservation,
        (_RESERVED, argument("--mac", metavar="MAC", help="keep it for this one from now on"), *_FIELDS),
    ),
    Command("delete", "keep it no more", _delete_reservation, (_RESERVED, _YES)),
)

LEASES = (
    Command(
        "list",
        "addresses that were given out",
        _list_leases,
        (
            argument("--machine", metavar="MACHINE", complete="machines", help="only those of this machine"),
            argument("--state", choices=tuple(LeaseState), help="only those in this state"),
        ),
    ),
    Command("release", "free an address at once, also one in quarantine", _free_lease, (_LEASED, _YES)),
)
