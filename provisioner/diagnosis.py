"""What is wrong with the boot network, in plain words, from what the timelines show. Pure: facts in, findings out.

A rule looks at one client's events in order, or at the server's own facts. What several clients show of the same thing
is one finding that counts them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from provisioner.client_findings import CLIENT_RULES, foreign
from provisioner.events import UNCOVERED, Event
from provisioner.findings import Facts, Finding, Severity
from provisioner.machine_findings import not_booted

# The share of a pool that has to be in use before it is worth a word.
_POOL_ALARM = 0.9


def diagnose(facts: Facts) -> list[Finding]:
    """What is wrong, the worst first, then what was seen last."""
    by_client: dict[str, list[Event]] = {}
    for event in facts.events:
        if event.mac:
            by_client.setdefault(event.mac, []).append(event)
    found: dict[tuple[str, str], Finding] = {}
    for mac, events in by_client.items():
        for rule in CLIENT_RULES:
            for finding in rule(events, facts):
                _add(found, replace(finding, macs=(mac,)))
    for finding in (
        *_foreign_servers(facts),
        *_uncovered(facts),
        *_pools(facts),
        *_ours_reserved(facts),
        *not_booted(facts),
    ):
        _add(found, finding)
    return sorted(found.values(), key=_order)


def _add(found: dict[tuple[str, str], Finding], new: Finding) -> None:
    key = (new.code, new.subject)
    old = found.get(key)
    if old is None:
        found[key] = new
        return
    last = max((each.last for each in (old, new) if each.last is not None), default=None)
    macs = tuple(dict.fromkeys((*old.macs, *new.macs)))
    found[key] = replace(old, macs=macs, count=old.count + new.count, last=last)


def _order(finding: Finding) -> tuple[int, float, str, str]:
    last = finding.last.timestamp() if finding.last is not None else 0.0
    return (list(Severity).index(finding.severity), -last, finding.code, finding.subject)


def _foreign_servers(facts: Facts) -> Iterator[Finding]:
    for server in facts.foreign:
        yield foreign(server.address, f"it answered on {server.interface}", facts.now)


def _uncovered(facts: Facts) -> Iterator[Finding]:
    for each in facts.unheard:
        if each.reason != UNCOVERED:
            continue
        way = f"relay {each.via}" if each.via else f"interface {each.interface}"
        place = each.detail or each.via
        yield Finding(
            code="relay-mismatch" if each.via else "network-not-covered",
            severity=Severity.ERROR if each.via else Severity.NOTICE,
            subject=place,
            title=f"{each.count} DHCP messages through {way} were not answered: no enabled subnet covers {place}",
            advice="Make a subnet that holds this address, or correct the relay's address: a relay speaks from the"
            " address it has on the clients' network"
            if each.via
            else "That is right where others serve; else make a subnet for this network",
            count=each.count,
            last=each.last,
        )


def _pools(facts: Facts) -> Iterator[Finding]:
    for pool in facts.pools:
        if pool.enabled and not pool.proxy and pool.size and pool.used >= pool.size * _POOL_ALARM:
            yield Finding(
                code="pool-nearly-full",
                severity=Severity.WARNING,
                subject=pool.subnet,
                title=f"The pool of subnet {pool.subnet} is nearly used up: {pool.used} of {pool.size}",
                advice="Widen it or shorten lease_seconds before it is empty",
            )


def _ours_reserved(facts: Facts) -> Iterator[Finding]:
    """Such a reservation is refused; but this server may have got the address later."""
    for each in facts.reserved:
        if each.address in facts.addresses:
            yield Finding(
                code="own-address-reserved",
                severity=Severity.WARNING,
                subject=each.address,
                title=f"{each.address} is reserved for {each.mac} and is an address of this server: nobody is given it",
                advice="Delete the reservation, or take the address from this server",
                macs=(each.mac,),
            )
