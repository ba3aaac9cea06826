"""Events: durable, numbered facts. Something happened to something, when, by whom.

An event is decided together with the change it tells of, and is published only after both are on disk.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

# Why a request was not answered, of those reasons that the doctor knows by their words.
CHOSE_ANOTHER = "the client chose another server"
UNCOVERED = "no enabled subnet covers the client"
NO_FREE_ADDRESS = "no free address"

# What can happen, and how a person reads it. The part before the dot is the source; UI and filters use it.
KINDS: dict[str, str] = {
    "dhcp.discover": "asked for an address",
    "dhcp.offer": "was offered an address",
    "dhcp.request": "asked to use an address",
    "dhcp.ack": "was given an address",
    "dhcp.nak": "was refused an address",
    "dhcp.decline": "found its address in use",
    "dhcp.release": "gave its address back",
    "dhcp.conflict": "uses an address that nobody gave it",
    "dhcp.inform": "asked for options only",
    "dhcp6.solicit": "asked for an IPv6 address",
    "dhcp6.advertise": "was offered an IPv6 address",
    "dhcp6.request": "asked to use an IPv6 address",
    "dhcp6.confirm": "asked whether its IPv6 address is right here",
    "dhcp6.renew": "asked to keep its IPv6 address",
    "dhcp6.rebind": "asked any server to keep its IPv6 address",
    "dhcp6.reply": "was answered by DHCPv6",
    "dhcp6.release": "gave its IPv6 address back",
    "dhcp6.decline": "found its IPv6 address in use",
    "dhcp6.information-request": "asked for IPv6 options only",
    "dhcp.proxy": "was told what to boot, beside another DHCP server",
    "tftp.read": "fetched a file by TFTP",
    "tftp.error": "could not fetch a file by TFTP",
    "http.read": "fetched a file by HTTP",
    "http.error": "could not fetch a file by HTTP",
    "boot.render": "was given its boot script",
    "boot.error": "could not be given its boot script",
    "boot.held": "is held at boot",
    "boot.local": "boots its own disk",
    "boot.wait": "waits for its turn to download",
    "boot.loader": "is given another boot loader: the last one did not come up",
    "agent.register": "registered",
    "agent.hello": "its agent came up",
    "agent.lost": "its agent was not heard of",
    "agent.reboot": "its agent reboots it",
    "machine.create": "was created",
    "machine.update": "was changed",
    "machine.delete": "was deleted",
    "machine.workflow": "was given a workflow",
    "machine.stage": "entered a stage",
    "machine.bootenv": "changed boot environment",
    "machine.runnable": "may run or must wait",
    "machine.retry": "tries its task again after a pause",
    "machine.repair": "repairs what made its task fail",
    "machine.stop": "was stopped before an entry",
    "machine.complete": "finished all its work",
    "machine.inventory": "reported its inventory",
    "machine.restart": "begins its work anew",
    "machine.resume": "goes on at its task",
    "machine.grant": "may have a disk erased",
    "machine.revoke": "may not have a disk erased any more",
    "machine.clash": "is held: it looks like another machine",
    "machine.resolve": "was told apart from the machine it looks like",
    "job.create": "job created",
    "job.start": "job started",
    "job.log": "job wrote to its log",
    "job.end": "job ended",
    "job.cancel": "job was told to stop",
    "job.asset": "job handed in a file",
    "job.delete": "job was deleted",
    "job.prune": "old jobs were removed",
    "param.reveal": "had a secure value shown",
    "power.request": "power action asked for",
    "power.done": "power action done",
    "power.error": "power action failed",
    "operation.start": "long action began",
    "operation.end": "long action ended",
    "object.put": "object saved",
    "object.delete": "object deleted",
    "content.load": "content loaded",
    "access.login": "logged in",
    "access.refused": "login refused",
    "access.join": "join token given out",
    "access.unjoin": "join token taken back",
    "server.start": "server started",
    "server.stop": "server stopped",
    "server.clock": "saw its clock set",
}


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """One fact. `machine` is an id or empty; `mac` joins what happened before the machine was known."""

    id: int = 0
    time: datetime
    kind: str
    machine: str = ""
    mac: str = ""
    key: str = ""
    by: str = ""
    data: dict[str, Any] = field(default_factory=dict)
