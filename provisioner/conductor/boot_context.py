"""What templates of boot scripts see, and the kernel that a boot environment starts; the same for every boot loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from agent.boot_words import Inexpressible, kernel_line
from agent.errors import RenderError
from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Invalid
from provisioner.model.content import LOCAL_BOOTENV, BootArch, Bootenv
from provisioner.model.machines import Machine
from provisioner.params import ContentView
from provisioner.strangers import USUAL_ARCH


class Reached(Struct, frozen=True):
    """By which address of ours a client came, with the URL of the HTTP service there."""

    address: str
    url: str


class Kernel(Struct, frozen=True):
    """A kernel to start: URLs of it and its initrds, and its command line."""

    kernel: str
    initrds: list[str]
    cmdline: str


class BootContext:
    """Puts contexts together and renders templates; `arch_of` tells the architecture of a machine that is unknown."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        renderer: Renderer,
        unknown_bootenv: str,
        arch_of: Callable[[str], str] = lambda mac: USUAL_ARCH,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._renderer = renderer
        self._unknown_bootenv = unknown_bootenv
        self.arch_of = arch_of
        self._sources: tuple[ContentView | None, dict[str, str]] = (None, {})

    def bootenv_of(self, machine: Machine | None) -> Bootenv:
        """What this machine boots; an unknown one boots the configured environment for strangers."""
        name = machine.bootenv if machine is not None else self._unknown_bootenv
        bootenvs = self._catalog.view["bootenvs"]
        found: Bootenv = bootenvs.get(name) or bootenvs.get(LOCAL_BOOTENV) or Bootenv(name=LOCAL_BOOTENV)
        return found

    def of(
        self, mac: str, machine: Machine | None, bootenv: Bootenv, reached: Reached, ticket: str = ""
    ) -> dict[str, Any]:
        """What a template sees of who boots what, `ticket` empty where none is given."""
        who = machine or self._stranger(mac)
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

    def of_script(
        self, mac: str, machine: Machine | None, bootenv: Bootenv, reached: Reached, ticket: str = ""
    ) -> dict[str, Any]:
        """The same, with the kernel to start when the boot environment has one."""
        context = self.of(mac, machine, bootenv, reached, ticket)
        if bootenv.netboots:
            kernel = self.kernel(machine or self._stranger(mac), bootenv, reached, context)
            context |= {"kernel_url": kernel.kernel, "initrd_urls": kernel.initrds, "boot_params": kernel.cmdline}
        return context

    def kernel(self, machine: Machine, bootenv: Bootenv, reached: Reached, context: Mapping[str, Any]) -> Kernel:
        """What a boot environment starts on this machine; raises RenderError, Invalid when it has nothing for it."""
        arch = self.arch(bootenv, machine)
        return Kernel(
            kernel=f"{reached.url}/files/{arch.kernel}",
            initrds=[f"{reached.url}/files/{initrd}" for initrd in arch.initrds],
            cmdline=self._boot_params(bootenv, arch, context),
        )

    def paths(self, bootenv: Bootenv, machine: Machine | None, mac: str) -> tuple[str, ...]:
        """The paths of kernel and initrds on our HTTP service; raises Invalid as `arch`."""
        if not bootenv.netboots:
            return ()
        arch = self.arch(bootenv, machine or self._stranger(mac))
        return tuple(f"/files/{name}" for name in (arch.kernel, *arch.initrds))

    def arch(self, bootenv: Bootenv, machine: Machine) -> BootArch:
        """The part of a boot environment for this machine's architecture; raises Invalid naming what it has."""
        arch = bootenv.arch.get(machine.arch)
        if arch is None:
            raise Invalid(f"bootenv {bootenv.name!r} has nothing for {machine.arch}; it has {', '.join(bootenv.arch)}")
        return arch

    def render(self, name: str, context: Mapping[str, Any], more: Mapping[str, str] | None = None) -> str:
        """A template of the content in force, or of `more`; raises RenderError."""
        templates = self._templates()
        return self._renderer.render(name, {**templates, **more} if more else templates, context)

    def _boot_params(self, bootenv: Bootenv, arch: BootArch, context: Mapping[str, Any]) -> str:
        name = f"bootenv {bootenv.name} boot_params"
        text = self.render(name, context, {name: arch.boot_params})
        try:
            line = kernel_line(text)
        except Inexpressible as error:
            raise RenderError(name, 0, error.message or "") from error
        if "\n" in text:
            _refuse_broken(name, text, context["params"])
        return line

    def _templates(self) -> dict[str, str]:
        view, sources = self._sources
        if view is not self._catalog.view:
            view = self._catalog.view
            sources = {name: template.contents for name, template in view["templates"].items()}
            self._sources = (view, sources)
        return sources

    def _stranger(self, mac: str) -> Machine:
        """A machine we do not know yet, as templates see it."""
        now = self._ledger.clock()
        return Machine(id="", name=mac, macs=(mac,), arch=self.arch_of(mac), created_at=now, updated_at=now)


def _refuse_broken(name: str, text: str, params: Mapping[str, Any]) -> None:
    """Lines of a template are one command line; a value of several lines would silently become words of it."""
    for param, value in params.items():
        for each in _texts(value):
            broken = each.strip()
            if "\n" in broken and broken in text:
                raise RenderError(
                    name, 0, f"param {param!r} has a line break in it; a kernel command line has one line"
                )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
