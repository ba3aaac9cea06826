"""`provisioner subnets`: the networks that DHCP answers on, and how it does."""

from __future__ import annotations

from typing import Any

from provisioner.cli.changing import MERGE_PATCH, confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import Argument, Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.output import as_yaml
from provisioner.model.addresses import Picker, Probe

# Flags whose text is the field's value.
_TEXTS = ("gateway", "domain", "next_server", "shared_network", "probe", "description")
_NUMBERS = ("lease_seconds", "reserved_lease_seconds", "renew_seconds", "rebind_seconds")
_SWITCHES = ("enabled", "only_reservations", "proxy", "router_advertisements")


def _list(session: Session) -> None:
    subnets = list(session.client().pages(at("subnets")))
    if session.output.as_json:
        session.output.json(subnets)
        return
    session.output.table(
        ("NAME", "NETWORK", "POOL", "GATEWAY", "DNS", "LEASE", "LINK", "ANSWERS"),
        (
            (
                each["name"],
                each["cidr"],
                _pool_words(each),
                each["gateway"],
                each["dns_servers"],
                f"{each['lease_seconds']} s",
                each.get("shared_network", ""),
                _answers(each),
            )
            for each in subnets
        ),
        "no subnets: DHCP answers nobody; add one with `provisioner subnets add`",
    )


def _pool_words(subnet: dict[str, Any]) -> str:
    if not subnet["pool_start"] or subnet.get("only_reservations"):
        return "reservations only"
    return f"{subnet['pool_start']} - {subnet['pool_end']}"


def _answers(subnet: dict[str, Any]) -> str:
    if not subnet["enabled"]:
        return "no"
    return "boot information only" if subnet.get("proxy") else "yes"


def _show(session: Session) -> None:
    subnet = session.client().get(at("subnets", session.options.name))
    if session.output.as_json:
        session.output.json(subnet)
    else:
        session.output.text(as_yaml(subnet))


def _add(session: Session) -> None:
    options = session.options
    said = _said(session)
    subnet = {"name": options.name, "cidr": options.cidr} | {name: each for name, each in said.items() if each != ""}
    made = session.client().send("POST", at("subnets"), subnet).json()
    done(session, made, f"DHCP answers on {made['cidr']} as subnet {made['name']}")


def _set(session: Session) -> None:
    name, said = session.options.name, _said(session)
    if not said:
        raise Failure("nothing is said that shall change", "see `provisioner subnets set --help`", Exit.USAGE)
    client = session.client()
    changed = client.send("PATCH", at("subnets", name), said, content_type=MERGE_PATCH).json()
    done(session, changed, f"subnet {name} is changed: {', '.join(said)}")


def _said(session: Session) -> dict[str, Any]:
    """The fields that the command line names; empty text clears one."""
    options = vars(session.options)
    said = {name: options[name] for name in (*_TEXTS, *_NUMBERS) if options[name] is not None}
    said |= {name: options[name] == "yes" for name in _SWITCHES if options[name] is not None}
    if options["pool"] is not None:
        said["pool_start"], said["pool_end"] = _pool(options["pool"])
    if options["dns"] is not None:
        said["dns_servers"] = [each for each in options["dns"] if each]
    if options["pickers"] is not None:
        said["pickers"] = [each.strip() for each in options["pickers"].split(",")]
    if options["option"]:
        said["options"] = dict(option(each) for each in options["option"])
    return said


def _pool(text: str) -> tuple[str, str]:
    if not text:
        return "", ""
    start, dash, end = (part.strip() for part in text.partition("-"))
    if not (start and dash and end):
        raise Failure(
            f"{text!r} is no pool", "write it as 10.0.0.100-10.0.0.200", Exit.USAGE, code="usage", object="--pool"
        )
    return start, end


def option(text: str) -> tuple[str, str | None]:
    """CODE=VALUE as two texts, no value being None; raises Failure."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Failure(f"{text!r} is no DHCP option", "write it as 42=10.0.0.1", Exit.USAGE, code="usage")
    return name, value or None


def _delete(session: Session) -> Exit | None:
    name = session.options.name
    if not confirmed(session, f"delete subnet {name}?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("subnets", name)).json()
    done(session, gone, f"subnet {name} is removed; leases in it stay until they end")
    return None


def switch(name: str, words: str) -> Argument:
    """A flag that says yes or no."""
    return argument(name, choices=("yes", "no"), help=words)


_NAME = argument("name", metavar="NAME", complete="subnets")
_FIELDS = (
    argument("--pool", metavar="FIRST-LAST", help="handed out to anybody; none: reservations only"),
    argument("--gateway", metavar="ADDRESS"),
    argument("--dns", action="append", metavar="ADDRESS", help="may be repeated"),
    argument("--domain", metavar="NAME"),
    argument("--next-server", metavar="ADDRESS", help="boot from another server"),
    argument("--lease-seconds", type=int, metavar="N", help="default: the server's"),
    argument("--reserved-lease-seconds", type=int, metavar="N", help="of reserved addresses"),
    argument("--renew-seconds", type=int, metavar="N", help="0: half of the lease"),
    argument("--rebind-seconds", type=int, metavar="N", help="0: seven eighths of the lease"),
    argument("--shared-network", metavar="LINK", help="subnets with the same are on one link"),
    argument("--pickers", metavar="LIST", help=f"how addresses are found, in order: {', '.join(Picker)}"),
    argument("--probe", choices=tuple(Probe), help="try addresses before they are offered"),
    switch("--only-reservations", "the pool is for nobody"),
    switch("--proxy", "another server gives the addresses here: say only what to boot"),
    switch("--router-advertisements", "IPv6: tell the link that addresses come by DHCPv6"),
    switch("--enabled", "no: DHCP does not answer there"),
    argument("--option", action="append", metavar="CODE=VALUE", help="a further DHCP option; without value: none"),
    argument("--description", metavar="TEXT"),
)

COMMANDS = (
    Command("list", "the networks that DHCP answers on", _list),
    Command("show", "one of them, with everything that is set", _show, (_NAME,)),
    Command(
        "add",
        "let DHCP answer on a network",
        _add,
        (
            argument("name", metavar="NAME"),
            argument("cidr", metavar="CIDR", help="such as 10.0.0.0/24"),
            *_FIELDS,
        ),
    ),
    Command("set", "change what is said, and leave the rest; '' clears a field", _set, (_NAME, *_FIELDS)),
    Command(
        "delete",
        "let DHCP answer there no more",
        _delete,
        (_NAME, argument("--yes", action="store_true", help="without asking")),
    ),
)
