"""A machine's boot by phase, on the rack: seconds from power-on over IPMI to each step in the server's timeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure
from tests.journey import FILES, Site, discover, two_machines
from tests.rack.programs import problems
from tests.rack.rack import RackMachine

Event = dict[str, Any]
# Kept back for ending the rack.
_STOP_SECONDS = 12
_NEEDED = ("discovery/vmlinuz", "discovery/initrd.img", "ipxe/undionly.kpxe", "ipxe/snponly.efi")


def _fetched(part: str) -> Callable[[Event], bool]:
    return lambda event: event["kind"] == "http.read" and part in event["key"]


# In the order in which they happen. A transfer's event comes at its end.
PHASES: dict[str, Callable[[Event], bool]] = {
    "dhcp_discover": lambda event: event["kind"] in ("dhcp.discover", "dhcp.offer"),
    "tftp": lambda event: event["kind"] in ("tftp.read", "tftp.error"),
    "script": lambda event: event["kind"] == "boot.render",
    "kernel": _fetched("/vmlinuz"),
    "initrd": _fetched("/initrd"),
    "register": lambda event: event["kind"] == "agent.register",
    "hello": lambda event: event["kind"] == "agent.hello",
    "discovered": lambda event: event["kind"] == "machine.complete",
}


def missing() -> str:
    """Why no machine can be booted here, '' when one can."""
    absent = [name for name in _NEEDED if not (FILES / name).exists()]
    return "; ".join([*problems(), *(f"{name} is not built" for name in absent)])


def phases(events: Iterable[Event], mac: str, begun: datetime) -> list[tuple[str, float]]:
    """Seconds from `begun` to the first event of each phase; those not reached are absent. Events oldest first.

    A first TFTP packet is told by its transfer's end and length in time.
    """
    ours = _of_machine(list(events), mac, begun)
    reached = []
    for name, fits in PHASES.items():
        event = next(filter(fits, ours), None)
        if event is None:
            continue
        when = datetime.fromisoformat(event["time"])
        if name == "tftp":
            when -= timedelta(seconds=event["data"].get("seconds", 0))
        reached.append((name, (when - begun).total_seconds()))
    return reached


def _of_machine(events: list[Event], mac: str, begun: datetime) -> list[Event]:
    since = [event for event in events if datetime.fromisoformat(event["time"]) >= begun]
    ids = {event["machine"] for event in since if event["mac"] == mac and event["machine"]}
    return [event for event in since if event["mac"] == mac or event["machine"] in ids]


def figures(firmware: str, reached: list[tuple[str, float]]) -> list[Figure]:
    """One figure a phase; the note has the step from the one before."""
    result, before = [], 0.0
    for name, seconds in reached:
        # A transfer's length is told to the millisecond, so its beginning may seem to lie that much too late.
        step = max(0.0, seconds - before)
        result.append(Figure(f"boot_{firmware}_{name}", seconds, "s", f"from power-on; {step:+.1f} s"))
        before = seconds
    return result


async def bench(folder: Path, seconds: float, tell: Callable[[str], None]) -> list[Figure]:
    """Boot one machine of each firmware, one after the other, all within `seconds`; `tell` hears what did not end."""
    deadline = time.monotonic() + seconds - _STOP_SECONDS
    site = Site(folder, "only for this bench", two_machines())
    result: list[Figure] = []
    async with site.up():
        waiting = list(site.machines.values())
        while waiting:
            budget = max(0.0, deadline - time.monotonic()) / len(waiting)
            result += await _boot(site, waiting.pop(0), budget, tell)
    return result


async def _boot(site: Site, machine: RackMachine, seconds: float, tell: Callable[[str], None]) -> list[Figure]:
    begun = datetime.now().astimezone()
    try:
        async with asyncio.timeout(seconds):
            await discover(site, machine)
    except TimeoutError:
        tell(f"{machine.name} was not discovered within {seconds:.0f} s; what it did not reach is left out")
    reached = phases(await site.events(), machine.mac, begun)
    await asyncio.to_thread(site.rack.ipmitool, machine, "power", "off")
    return figures(machine.name.rstrip("0123456789"), reached)
