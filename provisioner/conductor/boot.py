"""What a machine boots next: its iPXE script, rendered on request and never written to disk."""

from __future__ import annotations

from typing import Any

import structlog
from msgspec import Struct

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Invalid
from provisioner.model import LOCAL_BOOTENV, BootArch, Bootenv, Clash, Lease, Machine

log = structlog.get_logger(__name__)

KEXEC_PARAM = "agent/kexec"
IPXE_TEMPLATE = "boot/ipxe"
LOCAL_TEMPLATE = "boot/local"
HELD_TEMPLATE = "boot/held"


class Reached(Struct, frozen=True):
    """By which address of ours a client came, with the URL of the HTTP service there."""

    address: str
    url: str


class Kernel(Struct, frozen=True):
    """A kernel to start: URLs of it and its initrds, and its command line."""

    kernel: str
    initrds: list[str]
    cmdline: str


class Boot:
    """Decides and renders boot scripts."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        tokens: Tokens,
        clashes: Clashes,
        renderer: Renderer,
        unknown_bootenv: str,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tokens = tokens
        self._clashes = clashes
        self._renderer = renderer
        self._unknown_bootenv = unknown_bootenv

    def mac_of(self, address: str) -> str:
        """The MAC that holds a lease on this address, or ''."""
        lease = self._ledger.get(Lease, address)
        return lease.mac if lease is not None else ""

    def bootenv_of(self, machine: Machine | None) -> Bootenv:
        """What this machine boots; an unknown one boots the configured environment for strangers."""
        name = machine.bootenv if machine is not None else self._unknown_bootenv
        bootenvs = self._catalog.view["bootenvs"]
        found: Bootenv = bootenvs.get(name) or bootenvs.get(LOCAL_BOOTENV) or Bootenv(name=LOCAL_BOOTENV)
        return found

    async def script(self, mac: str, reached: Reached, protocol: str, client: str) -> bytes:
        """The iPXE script for a MAC. One that boots an environment carries a registration ticket, good for once."""
        clash = self._clashes.held(mac)
        if clash is not None:
            return await self._held_script(clash, mac, reached, protocol, client)
        machine = self._ledger.machine_by_mac(mac)
        bootenv = self.bootenv_of(machine)
        tx = self._ledger.transaction(by=f"address:{client}")
        whose = {"machine": machine.id if machine else "", "mac": mac}
        ticket = self._tokens.issue_ticket(tx, mac) if bootenv.netboots else ""
        try:
            text = self._render(mac, machine, bootenv, reached, ticket)
        except (RenderError, Invalid) as error:
            failed = self._ledger.transaction(by=f"address:{client}")
            failed.event("boot.error", **whose, key=bootenv.name, protocol=protocol, message=str(error))
            await failed.commit()
            raise Invalid(f"boot script for {mac}: {error}", object=mac, code="boot-script") from error
        kind = "boot.render" if bootenv.netboots else "boot.local"
        tx.event(kind, **whose, key=bootenv.name, protocol=protocol, bytes=len(text))
        await tx.commit()
        return text.encode()

    async def _held_script(self, clash: Clash, mac: str, reached: Reached, protocol: str, client: str) -> bytes:
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
            text = self._renderer.render(HELD_TEMPLATE, self._templates(), context)
        except RenderError as error:
            raise Invalid(f"boot script for {mac}: {error}", object=mac, code="boot-script") from error
        tx = self._ledger.transaction(by=f"address:{client}")
        tx.event("boot.held", mac=mac, key=clash.mac, protocol=protocol, reason=clash.reason)
        await tx.commit()
        return text.encode()

    def file(self, path: str, reached: Reached, client: str) -> bytes | None:
        """A file of the bootenv of the machine at this address, None when its bootenv has no such file."""
        mac = self.mac_of(client)
        machine = self._ledger.machine_by_mac(mac) if mac else None
        if machine is None:
            return None
        bootenv = self.bootenv_of(machine)
        context, templates = self._context(mac, machine, bootenv, reached, ""), self._templates()
        try:
            for each in bootenv.files:
                where = f"path of a file of bootenv {bootenv.name}"
                if self._renderer.render(where, {where: each.path}, context).lstrip("/") != path:
                    continue
                name = each.template or f"{bootenv.name}/{each.path}"
                source = {name: each.contents} if each.contents else {}
                return self._renderer.render(name, {**templates, **source}, context).encode()
        except RenderError as error:
            raise Invalid(f"{path}: {error}", object=path, code="boot-file") from error
        return None

    def _templates(self) -> dict[str, str]:
        return {name: template.contents for name, template in self._catalog.view["templates"].items()}

    def _render(self, mac: str, machine: Machine | None, bootenv: Bootenv, reached: Reached, ticket: str) -> str:
        context, templates = self._context(mac, machine, bootenv, reached, ticket), self._templates()
        if not bootenv.netboots:
            return self._renderer.render(LOCAL_TEMPLATE, templates, context)
        kernel = self._kernel(bootenv, machine or _stranger(mac, self._ledger), reached, templates, context)
        context |= {"kernel_url": kernel.kernel, "initrd_urls": kernel.initrds, "boot_params": kernel.cmdline}
        return self._renderer.render(IPXE_TEMPLATE, templates, context)

    def _kernel(
        self, bootenv: Bootenv, machine: Machine, reached: Reached, templates: dict[str, str], context: dict[str, Any]
    ) -> Kernel:
        arch = self._arch(bootenv, machine)
        return Kernel(
            kernel=f"{reached.url}/files/{arch.kernel}",
            initrds=[f"{reached.url}/files/{initrd}" for initrd in arch.initrds],
            cmdline=self._boot_params(bootenv, arch, templates, context),
        )

    async def kexec(self, machine_id: str, reached: Reached, client: str) -> Kernel | None:
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
        tx = self._ledger.transaction(by=f"address:{client}")
        ticket = self._tokens.issue_ticket(tx, mac)
        try:
            context = self._context(mac, machine, bootenv, reached, ticket)
            kernel = self._kernel(bootenv, machine, reached, self._templates(), context)
        except (RenderError, Invalid) as error:
            log.warning("boot.no_kexec", machine=machine.id, bootenv=bootenv.name, problem=str(error))
            return None
        tx.event("boot.render", machine=machine.id, mac=mac, key=bootenv.name, protocol="kexec")
        await tx.commit()
        return kernel

    def _context(
        self, mac: str, machine: Machine | None, bootenv: Bootenv, reached: Reached, ticket: str
    ) -> dict[str, Any]:
        who = machine or _stranger(mac, self._ledger)
        server = {"url": reached.url, "address": reached.address}
        given = self._catalog.values.of(who, server).plain()
        shown = {"id": who.id, "name": who.name, "arch": who.arch, "firmware": who.firmware}
        return {
            "server": server,
            "bootenv": {"name": bootenv.name, "os": {"family": bootenv.os.family, "version": bootenv.os.version}},
            "machine": shown if machine else None,
            "params": given.params,
            "param_errors": given.errors,
            "mac": mac,
            "mac_dashed": mac.replace(":", "-"),
            "ticket": ticket,
        }

    def _arch(self, bootenv: Bootenv, machine: Machine) -> BootArch:
        arch = bootenv.arch.get(machine.arch)
        if arch is None:
            raise Invalid(f"bootenv {bootenv.name!r} has nothing for {machine.arch}; it has {', '.join(bootenv.arch)}")
        return arch

    def _boot_params(self, bootenv: Bootenv, arch: BootArch, templates: dict[str, str], context: dict[str, Any]) -> str:
        name = f"bootenv {bootenv.name} boot_params"
        text = self._renderer.render(name, {**templates, name: arch.boot_params}, context)
        return " ".join(text.split())

    async def served(self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "") -> None:
        """Tell the timeline of whoever has this address that a file was fetched, or why not."""
        mac = self.mac_of(client)
        machine = self._ledger.machine_by_mac(mac) if mac else None
        tx = self._ledger.transaction(by=f"address:{client}")
        kind = f"{protocol}.error" if error else f"{protocol}.read"
        data: dict[str, Any] = {"bytes": size, "seconds": round(seconds, 3), "client": client}
        if error:
            data["message"] = error
        tx.event(kind, machine=machine.id if machine else "", mac=mac, key=path, **data)
        await tx.commit()


def _boot_mac(machine: Machine) -> str:
    """The MAC that the machine booted from last, as its agent told."""
    boot = machine.inventory.get("boot")
    mac = boot.get("mac") if isinstance(boot, dict) else None
    return mac if mac in machine.macs else machine.macs[0]


def _stranger(mac: str, ledger: Ledger) -> Machine:
    """A machine we do not know yet, as templates see it."""
    now = ledger.clock()
    return Machine(id="", name=mac, macs=(mac,), created_at=now, updated_at=now)
