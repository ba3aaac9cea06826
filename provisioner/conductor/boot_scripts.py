"""Boot scripts, rendered once and kept for as long as nothing that is in them changes; only tickets are put in anew.

A script depends on the machine, the content in force, the address by which the client reached us and the language of
the boot loader. Machines and content are values that are replaced when they change, so a script is right for as long as
they are the very same objects. Tickets are found by rendering twice, with two words in the place of the ticket: where
the two texts differ in more than these words, a template works with the ticket, and such a script is rendered for each
request.
"""

from __future__ import annotations

from collections import OrderedDict

from provisioner.conductor.boot_context import BootContext, Reached
from provisioner.conductor.catalog import Catalog
from provisioner.frozen import Frozen
from provisioner.model.content import Bootenv
from provisioner.model.machines import Machine
from provisioner.params import ContentView
from provisioner.tickets import LETTERS

# About 2 KiB each; a larger fleet that boots all at once renders anew, which costs a tenth of a millisecond.
KEPT_SCRIPTS = 8192
# As long as a ticket and none: their first letters stand for a version that there is not.
_ONE, _OTHER = "z" * LETTERS, "y" * LETTERS


class Dialect(Frozen, frozen=True):
    """A boot loader's language: the templates of its scripts.

    `boot` starts a kernel, `local` the machine's own disk, `held` tells a newcomer why it must wait for an operator,
    and `wait` lets a machine wait for its turn to download.
    """

    boot: str
    local: str
    held: str
    wait: str


IPXE = Dialect("boot/ipxe", "boot/local", "boot/held", "boot/wait")
GRUB = Dialect("boot/grub", "boot/grub-local", "boot/grub-held", "boot/grub-wait")
GRUB_START = "boot/grub-start"


class Script(Frozen, frozen=True):
    """A script: what stands between its tickets, or None when it has to be rendered for each ticket.

    `paths` are what it downloads from us.
    """

    machine: Machine | None
    view: ContentView
    bootenv: Bootenv
    pieces: tuple[bytes, ...] | None
    paths: tuple[str, ...]


class Scripts:
    """Renders boot scripts, and keeps them."""

    def __init__(self, catalog: Catalog, context: BootContext, most: int = KEPT_SCRIPTS) -> None:
        self._catalog = catalog
        self._context = context
        self._most = most
        self._kept: OrderedDict[tuple[str, Reached, Dialect], Script] = OrderedDict()

    def find(self, mac: str, machine: Machine | None, reached: Reached, dialect: Dialect) -> Script:
        """The script of a machine as things are; raises RenderError, Invalid."""
        # Of a stranger only its firmware tells the architecture, and maybe after the first script.
        who = mac if machine is not None else f"{mac} {self._context.arch_of(mac)}"
        key = (who, reached, dialect)
        kept = self._kept.get(key)
        if kept is not None and kept.machine is machine and kept.view is self._catalog.view:
            self._kept.move_to_end(key)
            return kept
        made = self._kept[key] = self._make(mac, machine, reached, dialect)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return made

    def text(self, script: Script, mac: str, reached: Reached, dialect: Dialect, ticket: str) -> bytes:
        """The script with this ticket in it; raises RenderError, Invalid."""
        if script.pieces is None:
            return self._render(mac, script.machine, script.bootenv, reached, dialect, ticket).encode()
        if len(script.pieces) == 1:
            return script.pieces[0]
        return ticket.encode().join(script.pieces)

    def _make(self, mac: str, machine: Machine | None, reached: Reached, dialect: Dialect) -> Script:
        bootenv = self._context.bootenv_of(machine)
        one = self._render(mac, machine, bootenv, reached, dialect, _ONE).split(_ONE)
        other = self._render(mac, machine, bootenv, reached, dialect, _OTHER).split(_OTHER)
        pieces = tuple(piece.encode() for piece in one) if one == other else None
        return Script(machine, self._catalog.view, bootenv, pieces, self._context.paths(bootenv, machine, mac))

    def _render(
        self, mac: str, machine: Machine | None, bootenv: Bootenv, reached: Reached, dialect: Dialect, ticket: str
    ) -> str:
        context = self._context.of_script(mac, machine, bootenv, reached, ticket if bootenv.netboots else "")
        return self._context.render(dialect.boot if bootenv.netboots else dialect.local, context)
