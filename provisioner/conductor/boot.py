"""What a machine boots next: its script, its rendered files, and what of all that is told in its timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from agent.errors import RenderError
from provisioner.conductor.boot_context import BootContext, Kernel, Reached
from provisioner.conductor.boot_scripts import GRUB, GRUB_START, IPXE, Dialect, Scripts
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.neighbours import holder
from provisioner.conductor.notes import Notes
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turn, Turns
from provisioner.errors import Invalid
from provisioner.model.content import Bootenv
from provisioner.model.machines import Clash, Machine
from provisioner.script_names import Language, may_be_missing, read_script_name

log = structlog.get_logger(__name__)

KEXEC_PARAM = "agent/kexec"
# Letters of a path, and of why it was not served, that the timeline keeps: anybody can ask for paths of kilobytes.
LONGEST_TOLD = 1000


class Boot:
    """Gives out boot scripts and files. Nothing here changes state, so nobody waits for the disk.

    `loaded` hears of every MAC whose loader came for its script, and which machine has it, `fetched` of every file that
    one fetched whole; `neighbour` tells the MAC of an address that another server gave, or ''.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        tokens: Tokens,
        clashes: Clashes,
        context: BootContext,
        notes: Notes,
        turns: Turns,
        *,
        loaded: Callable[[str, Machine | None], None] = lambda mac, machine: None,
        fetched: Callable[[str, str], None] = lambda mac, path: None,
        neighbour: Callable[[str], str] = lambda address: "",
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tokens = tokens
        self._clashes = clashes
        self._context = context
        self._notes = notes
        self._turns = turns
        self._loaded = loaded
        self._fetched = fetched
        self._neighbour = neighbour
        self._scripts = Scripts(catalog, context)

    def mac_of(self, address: str) -> str:
        """The MAC that has this address, or ''."""
        return holder(self._ledger, address, self._neighbour)

    def bootenv_of(self, machine: Machine | None) -> Bootenv:
        """What this machine boots; an unknown one boots the configured environment for strangers."""
        return self._context.bootenv_of(machine)

    def named(self, path: str, reached: Reached, protocol: str, client: str) -> bytes | None:
        """The script that a boot loader asks for by this name, None when it is no script's name. Raises Invalid."""
        name = read_script_name(path)
        if name is None:
            return None
        if name.language is Language.GRUB_START:
            return self._grub_start(client)
        return self.script(name.mac, reached, protocol, client, GRUB if name.language is Language.GRUB else IPXE)

    def _grub_start(self, client: str) -> bytes:
        mac = self.mac_of(client)
        try:
            return self._context.render(GRUB_START, {"mac": mac, "mac_dashed": mac.replace(":", "-")}).encode()
        except RenderError as error:
            raise _unrenderable(mac or client, error) from error

    def script_by_http(self, mac: str, reached: Reached, client: str) -> bytes:
        """The same as `script` for a machine that boots by HTTP with iPXE."""
        return self.script(mac, reached, "http", client)

    def script(self, mac: str, reached: Reached, protocol: str, client: str, dialect: Dialect = IPXE) -> bytes:
        """The boot script for a MAC. One that boots an environment carries a registration ticket, good for once.

        `protocol` is '' for somebody who only wants to know its size: no machine boots then. Raises Invalid when it
        cannot be rendered, which the timeline tells too.
        """
        machine = self._ledger.machine_by_mac(mac)
        if protocol:
            self._loaded(mac, machine)
        # A MAC that belongs to a known machine is never held.
        clash = self._clashes.held(mac) if machine is None else None
        if clash is not None:
            return self._held_script(clash, mac, reached, protocol, client, dialect)
        who, by = machine.id if machine is not None else "", f"address:{client}"
        try:
            script = self._scripts.find(mac, machine, reached, dialect)
            bootenv = script.bootenv
            netboots = bootenv.netboots
            if netboots and protocol:
                turn = self._turns.ask(mac, client, script.paths)
                if turn.place:
                    return self._wait_script(turn, mac, machine, bootenv, reached, protocol, client, dialect)
            ticket = self._tokens.issue_ticket(mac) if netboots else ""
            text = self._scripts.text(script, mac, reached, dialect, ticket)
        except (RenderError, Invalid) as error:
            name = self.bootenv_of(machine).name
            problem = str(error)
            self._notes.tell("boot.error", by=by, machine=who, mac=mac, key=name, protocol=protocol, message=problem)
            raise _unrenderable(mac, error) from error
        if not protocol:
            return text
        kind = "boot.render" if netboots else "boot.local"
        self._notes.tell(kind, by=by, machine=who, mac=mac, key=bootenv.name, protocol=protocol, bytes=len(text))
        return text

    def _wait_script(
        self,
        turn: Turn,
        mac: str,
        machine: Machine | None,
        bootenv: Bootenv,
        reached: Reached,
        protocol: str,
        client: str,
        dialect: Dialect,
    ) -> bytes:
        """What a machine is given while others download: its place, and to ask again. Only the first is told."""
        place = turn.place
        context = self._context.of(mac, machine, bootenv, reached)
        context |= {"place": place, "waiting": max(place, self._turns.waiting), "limit": self._turns.limit}
        context |= {"pause_seconds": self._turns.pause_seconds(place)}
        if turn.is_new:
            who, by = machine.id if machine else "", f"address:{client}"
            self._notes.tell("boot.wait", by=by, machine=who, mac=mac, key=bootenv.name, protocol=protocol, place=place)
        return self._context.render(dialect.wait, context).encode()

    def _held_script(
        self, clash: Clash, mac: str, reached: Reached, protocol: str, client: str, dialect: Dialect
    ) -> bytes:
        """What a newcomer boots that looks like another machine: an explanation, and the next try in a minute."""
        known = [self._ledger.get(Machine, machine) for machine in clash.machines]
        context = {
            "server": {"url": reached.url, "address": reached.address},
            "mac": mac,
            "mac_dashed": mac.replace(":", "-"),
            "machines": [machine.name for machine in known if machine is not None],
            "reason": clash.reason,
        }
        try:
            text = self._context.render(dialect.held, context)
        except RenderError as error:
            raise _unrenderable(mac, error) from error
        if not protocol:
            return text.encode()
        by = f"address:{client}"
        self._notes.tell("boot.held", by=by, mac=mac, key=clash.mac, protocol=protocol, reason=clash.reason)
        return text.encode()

    def file(self, path: str, reached: Reached, client: str) -> bytes | None:
        """A file of the bootenv of the machine at this address, None when its bootenv has no such file."""
        mac = self.mac_of(client)
        machine = self._ledger.machine_by_mac(mac) if mac else None
        if machine is None:
            return None
        bootenv = self.bootenv_of(machine)
        if not bootenv.files:
            return None
        context = self._context.of(mac, machine, bootenv, reached)
        try:
            for each in bootenv.files:
                where = f"path of a file of bootenv {bootenv.name}"
                if self._context.render(where, context, {where: each.path}).lstrip("/") != path:
                    continue
                name = each.template or f"{bootenv.name}/{each.path}"
                return self._context.render(name, context, {name: each.contents} if each.contents else None).encode()
        except RenderError as error:
            raise Invalid(f"{path}: {error}", object=path, code="boot-file") from error
        return None

    def kexec(self, machine_id: str, reached: Reached, client: str) -> Kernel | None:
        """What the machine's agent may start instead of a reboot, with a ticket; None when the firmware has to.

        That is allowed by param `agent/kexec`. Whatever is wrong with the boot environment, the machine reboots.
        """
        machine = self._ledger.get(Machine, machine_id)
        bootenv = self.bootenv_of(machine)
        if machine is None or not machine.macs or not bootenv.netboots:
            return None
        mac = _boot_mac(machine)
        if self._clashes.held(mac) is not None or self._catalog.param(machine, KEXEC_PARAM) is not True:
            return None
        try:
            context = self._context.of(mac, machine, bootenv, reached, self._tokens.issue_ticket(mac))
            kernel = self._context.kernel(machine, bootenv, reached, context)
        except (RenderError, Invalid) as error:
            log.warning("boot.no_kexec", machine=machine.id, bootenv=bootenv.name, problem=str(error))
            return None
        by = f"address:{client}"
        self._notes.tell("boot.render", by=by, machine=machine.id, mac=mac, key=bootenv.name, protocol="kexec")
        return kernel

    def served(
        self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "", **details: object
    ) -> None:
        """Tell the timeline of whoever has this address that a file was fetched, or why not; `details` as they are."""
        if error and may_be_missing(path):
            return
        mac = self.mac_of(client)
        machine = self._ledger.machine_by_mac(mac) if mac else None
        kind = f"{protocol}.error" if error else f"{protocol}.read"
        data: dict[str, Any] = {"bytes": size, "seconds": round(seconds, 3), "client": client, **details}
        if error:
            data["message"] = error[:LONGEST_TOLD]
        elif mac and not details.get("size_only"):
            self._fetched(mac, path)
        who = machine.id if machine else ""
        told = path[:LONGEST_TOLD]
        self._notes.tell(kind, by=f"address:{client}", machine=who, mac=mac, key=told, **data)


def _unrenderable(mac: str, error: Exception) -> Invalid:
    return Invalid(f"boot script for {mac}: {error}", object=mac, code="boot-script")


def _boot_mac(machine: Machine) -> str:
    """The MAC that the machine booted from last, as its agent told."""
    boot = machine.inventory.get("boot")
    mac = boot.get("mac") if isinstance(boot, dict) else None
    return mac if mac in machine.macs else machine.macs[0]
