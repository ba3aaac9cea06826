"""What the events of one client show of the boot network. A rule gets them in order and yields what it finds.

The words are for the person who has to walk to the switch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from provisioner.events import CHOSE_ANOTHER, NO_FREE_ADDRESS, Event
from provisioner.findings import Facts, Finding, Severity

# A firmware that was told a file asks for it within a second; after this long it is not going to.
FETCH_PATIENCE = timedelta(seconds=60)
# From the boot script to the agent's first word; a large initrd over a slow link takes minutes.
SYSTEM_PATIENCE = timedelta(minutes=10)
# Firmware asks at 0, 4, 8 and 16 seconds (PXE 2.1 section 2.2.2). Heard first after this, its link was not up before.
LATE_SECONDS = 8
# Events of a client that lie further apart belong to different boots.
_BOOT_GAP = timedelta(minutes=2)
# The largest TFTP block that fits an Ethernet frame: 1500 less 20 of IP, 8 of UDP and 4 of TFTP.
_LARGEST_WHOLE_BLOCK = 1468
_UNTAKEN_OFFERS = 3
_NAK_LOOP = 3

ClientRule = Callable[[list[Event], Facts], Iterator[Finding]]


def foreign(server: str, how: str, last: datetime | None) -> Finding:
    """The finding that another DHCP server is at work, however that was learned."""
    return Finding(
        code="foreign-dhcp",
        severity=Severity.ERROR,
        subject=server,
        title=f"Another DHCP server is at work: {server} ({how})",
        advice=f"Switch {server} off on this network, or set `proxy: true` on the subnet: then it gives the addresses"
        " and we only say what to boot",
        last=last,
    )


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return str(value) if value is not None else ""


def _is_fetch(event: Event) -> bool:
    return event.kind.startswith(("tftp.", "http.", "boot."))


def _chose_another(events: list[Event], facts: Facts) -> Iterator[Finding]:
    for event in events:
        if event.kind == "dhcp.request" and _text(event, "ignored") == CHOSE_ANOTHER:
            server = _text(event, "detail") or "unknown"
            # A relay with two of our addresses as helpers sends us each request twice.
            if server in facts.addresses:
                continue
            yield foreign(server, "clients take its offers instead of ours", event.time)


def _never_fetched(events: list[Event], facts: Facts) -> Iterator[Finding]:
    """It was told what to load, and came back to DHCP, or fell silent, without having asked anybody we know for it."""
    pending: Event | None = None
    times = 0
    for event in events:
        if _is_fetch(event) or event.kind.startswith("agent."):
            pending, times = None, 0
        elif event.data.get("boot_file") and (event.kind == "dhcp.ack" or _text(event, "reply") == "ACK"):
            times += pending is not None
            pending = event
    if pending is None:
        return
    times += facts.now - pending.time > FETCH_PATIENCE
    if times:
        yield _not_loaded(pending, facts, times)


def _not_loaded(told: Event, facts: Facts, times: int) -> Finding:
    file, firmware = _text(told, "boot_file"), _text(told, "firmware")
    server = _text(told, "next_server") or _text(told, "server")
    if server and server not in facts.addresses:
        return Finding(
            code="next-server",
            severity=Severity.ERROR,
            subject=server,
            title=f"Told to load {file} from {server}, which is not us; it never asked us",
            advice="Is that meant? If not, clear next_server of the subnet or the reservation, then we say ourselves",
            count=times,
            last=told.time,
        )
    if firmware.startswith("iPXE"):
        return Finding(
            code="script-not-fetched",
            severity=Severity.ERROR,
            subject=firmware,
            title=f"{firmware} came up and never asked for its script",
            advice="iPXE's driver of this card may not work: set param boot/loader to another loader (snponly under"
            " UEFI). Or TCP to our HTTP port does not come through: look at firewalls between",
            count=times,
            last=told.time,
        )
    return Finding(
        code="file-not-fetched",
        severity=Severity.ERROR,
        subject=file,
        title=f"{firmware or 'Firmware'} was told to load {file} from us and never asked for it",
        advice="UDP port 69 from the machine to us does not come through (firewall, router between), or the DHCP answer"
        " reaches it changed; `provisioner packets` shows what was sent",
        count=times,
        last=told.time,
    )


def _waited(seconds: object) -> int:
    """How long a client says that it has asked; some firmware has the bytes of `secs` swapped."""
    if not isinstance(seconds, int):
        return 0
    return seconds >> 8 if seconds > 0xFF and not seconds & 0xFF else seconds


def _late_link(events: list[Event], facts: Facts) -> Iterator[Finding]:
    before: datetime | None = None
    for event in events:
        waited = _waited(event.data.get("secs", 0))
        first = before is None or event.time - before > _BOOT_GAP
        before = event.time
        if first and event.kind.startswith("dhcp.") and waited >= LATE_SECONDS:
            yield Finding(
                code="late-link",
                severity=Severity.WARNING,
                subject=_text(event, "via") or _text(event, "interface"),
                title=f"Heard first after it had asked for {waited} seconds: its link came up late",
                advice="A switch port that runs spanning tree keeps a new link shut for 30 seconds. Set the ports of"
                " servers to edge (portfast), and LACP to fallback",
                last=event.time,
            )


def _offers_not_taken(events: list[Event], facts: Facts) -> Iterator[Finding]:
    untaken = 0
    last = None
    for event in events:
        if event.kind == "dhcp.offer":
            untaken, last = untaken + 1, event
        elif event.kind in ("dhcp.ack", "dhcp.nak", "dhcp.request", "agent.hello"):
            untaken, last = 0, None
    if last is None or untaken < _UNTAKEN_OFFERS:
        return
    way = f"relay {via}" if (via := _text(last, "via")) else f"interface {_text(last, 'interface')}"
    yield Finding(
        code="offer-not-taken",
        severity=Severity.ERROR,
        subject=way,
        title=f"Was offered an address {untaken} times through {way} and never took it",
        advice="Our answers may not reach it: look at the VLAN, the relay's way back and DHCP snooping on the switch"
        " (our port must be trusted). Some firmware waits for a boot server of its choice",
        count=untaken,
        last=last.time,
    )


def _fragments(events: list[Event], facts: Facts) -> Iterator[Finding]:
    for event in events:
        size = event.data.get("blksize", 0)
        silent = event.kind == "tftp.error" and "not answer" in _text(event, "message")
        if silent and isinstance(size, int) and size > _LARGEST_WHOLE_BLOCK:
            yield Finding(
                code="fragments-lost",
                severity=Severity.ERROR,
                subject=f"blksize {size}",
                title=f"TFTP with blocks of {size} bytes stops: they travel as fragments, which get lost",
                advice="Something between drops IP fragments. Set tftp.max_blksize to 1428, or raise the MTU"
                " on the way",
                last=event.time,
            )


def _refused_again_and_again(events: list[Event], facts: Facts) -> Iterator[Finding]:
    naks: list[Event] = []
    for event in events:
        if event.kind == "dhcp.nak":
            naks.append(event)
        elif event.kind == "dhcp.ack":
            naks.clear()
    if len(naks) >= _NAK_LOOP:
        reason = _text(naks[-1], "reason")
        yield Finding(
            code="nak-loop",
            severity=Severity.ERROR,
            subject=reason,
            title=f"Its address is refused again and again: {reason}",
            advice="Two servers that both feel responsible, or a reservation for an address that another machine holds",
            count=len(naks),
            last=naks[-1].time,
        )


def _no_free_address(events: list[Event], facts: Facts) -> Iterator[Finding]:
    for event in events:
        if _text(event, "ignored") == NO_FREE_ADDRESS:
            subject = _text(event, "detail")
            yield Finding(
                code="pool-exhausted",
                severity=Severity.ERROR,
                subject=subject,
                title=f"There is no free address left: {subject}",
                advice="Widen the pool, shorten lease_seconds, or release leases of machines that are gone",
                last=event.time,
            )


def _loader_given_up(events: list[Event], facts: Facts) -> Iterator[Finding]:
    told = [event for event in events if event.kind == "boot.loader"]
    if told:
        failed = _text(told[-1], "failed")
        yield Finding(
            code="loader-failed",
            severity=Severity.WARNING,
            subject=failed,
            title=f"Boot loader {failed} was loaded and never came up; {told[-1].key} is tried now",
            advice="When a loader works, write its name into param boot/loader; when none does, see docs/booting.md:"
            " Secure Boot refuses iPXE, and some cards want snponly or undionly",
            count=len(told),
            last=told[-1].time,
        )


def _missing_files(events: list[Event], facts: Facts) -> Iterator[Finding]:
    for event in events:
        if event.kind in ("tftp.error", "http.error") and "there is no file" in _text(event, "message"):
            yield Finding(
                code="file-missing",
                severity=Severity.ERROR,
                subject=event.key,
                title=f"{event.key} was asked for and is not there",
                advice="Put it below files_dir (`make boot-files` brings the boot programs), or correct the name in the"
                " bootenv, the reservation or option 67",
                last=event.time,
            )


def _conflicts(events: list[Event], facts: Facts) -> Iterator[Finding]:
    for event in events:
        if event.kind in ("dhcp.conflict", "dhcp.decline"):
            yield Finding(
                code="address-conflict",
                severity=Severity.WARNING,
                subject=event.key,
                title=f"{event.key} is in use by somebody who did not get it from us",
                advice="A host with a fixed address inside the pool, or another DHCP server: take the address out of"
                " the pool or reserve it for that host",
                last=event.time,
            )


def _system_never_came(events: list[Event], facts: Facts) -> Iterator[Finding]:
    script: Event | None = None
    for event in events:
        if event.kind == "boot.render":
            script = event
        elif event.kind.startswith("agent."):
            script = None
    if script is not None and facts.now - script.time > SYSTEM_PATIENCE:
        yield Finding(
            code="system-silent",
            severity=Severity.WARNING,
            subject=script.key,
            title=f"Was given the script of {script.key} and its agent has not been heard of since",
            advice="Look at its console: a kernel without a driver for the card, too little memory for the initrd, or"
            " Secure Boot refusing the kernel",
            last=script.time,
        )


CLIENT_RULES: tuple[ClientRule, ...] = (
    _chose_another,
    _never_fetched,
    _late_link,
    _offers_not_taken,
    _fragments,
    _refused_again_and_again,
    _no_free_address,
    _loader_given_up,
    _missing_files,
    _conflicts,
    _system_never_came,
)
