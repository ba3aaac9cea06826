"""What each client loads first: one answer for DHCPv4, the proxy and DHCPv6.

A machine's loader is what param `boot/loader` says: the name of one, or a list to try in order. Without it, a row of
`boot/quirks` may name the one to begin with, then shim comes first where the inventory says that Secure Boot is on.
Firmware that was given a loader twice and then asked anew, without iPXE or GRUB ever coming, cannot use it: the next
in order has its turn (event `boot.loader`), and one that worked is kept. All that is in memory only: after a restart
of the server the first loader has its turn again.
"""

from __future__ import annotations

from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from msgspec import Struct

from provisioner.conductor.ledger import Ledger
from provisioner.errors import Invalid
from provisioner.firmware import BootClient, ClientKind
from provisioner.loaders import LOADERS, NO_LOADER, file_of, order
from provisioner.model import Bootenv, Machine
from provisioner.netboot import NEVER, NO_BOOT, Boot, choose_boot
from provisioner.params import Params
from provisioner.quirks import Behaviour, Quirk, behaviour, read_quirks

log = structlog.get_logger(__name__)

LOADER_PARAM = "boot/loader"
QUIRKS_PARAM = "boot/quirks"

# One failure is a power cycle at a bad moment; two in a row are a loader that this machine cannot use.
FAILURES_BEFORE_NEXT = 2
# Who has not been heard of for so long begins anew; of more machines at once the longest silent are forgotten.
MOST_REMEMBERED = 65_536
NOT_SECURE_BY_HTTP = "Secure Boot is on, and what is signed for it cannot go on from HTTP boot: let it boot by PXE"
# Files come and go seldom, and looking for one costs more than all the rest.
_LOOK_AGAIN = timedelta(seconds=5)


class Web(Struct, frozen=True):
    """Where our HTTP service listens; port 0 is nowhere, and `host` '' or a wildcard is every address of ours."""

    host: str = ""
    port: int = 0

    def url(self, server: str) -> str:
        """Our URL for a client that reaches us at address `server`, '' without HTTP."""
        if not self.port:
            return ""
        host = server if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class _Settings(Struct, frozen=True):
    """What the params of a machine say about booting; of which revision and content that is."""

    revision: int
    params: Params
    loaders: tuple[str, ...]
    quirks: tuple[Quirk, ...]
    secure: bool


class _Attempt:
    """How it went with the loaders of one MAC: whose turn it is, and whether what was given was heard of again."""

    __slots__ = ("failures", "given", "names", "turn", "xid")

    def __init__(self) -> None:
        self.xid = 0
        self.begin(())

    def begin(self, names: tuple[str, ...]) -> None:
        """From the first of these loaders on."""
        self.names = names
        self.turn = names[0] if names else ""
        self.given = False
        self.failures = 0


class BootChoices:
    """Chooses. `params_of` gives the params of the content in force, `bootenv_of` what a machine boots (None: unknown).

    `is_there` tells whether a file of the static root exists; `most` machines are remembered.
    """

    def __init__(
        self,
        ledger: Ledger,
        params_of: Callable[[], Params],
        bootenv_of: Callable[[Machine | None], Bootenv | None],
        *,
        is_there: Callable[[str], bool] = lambda name: True,
        web: Web = Web(),
        most: int = MOST_REMEMBERED,
    ) -> None:
        self._ledger = ledger
        self._params_of = params_of
        self._bootenv_of = bootenv_of
        self._is_there = is_there
        self._web = web
        self._most = most
        self._settings: dict[str, _Settings] = {}
        self._quirks: dict[int, tuple[Any, tuple[Quirk, ...]]] = {}
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._looked: dict[str, bool] = {}
        self._looked_at: datetime | None = None

    def choose(
        self, client: BootClient, machine: Machine | None, server: str, override: str = "", *, proxy: bool = False
    ) -> Boot:
        """What to tell the client that reaches us at address `server`; `override` is a reservation's boot file.

        Call it once for each message that is answered: it counts how often firmware begins anew.
        """
        if client.kind is ClientKind.OTHER:
            return NO_BOOT
        settings = self._settings_of(machine)
        manner = behaviour(client, settings.quirks)
        loader = ""
        if client.kind is ClientKind.IPXE:
            self.loaded(client.mac)
        elif override in LOADERS:
            loader, override = override, ""
        elif override != NEVER:
            loader = self._whose_turn(client, machine, settings, manner)
            if not loader and settings.secure and client.kind is ClientKind.HTTP and not override:
                return Boot(reason=NOT_SECURE_BY_HTTP)
        return choose_boot(
            client,
            self._bootenv_of(machine),
            loader,
            override=override,
            http=self._web.url(server),
            behaviour=manner,
            proxy=proxy,
        )

    def loaded(self, mac: str) -> None:
        """What this machine was given works: iPXE asks by DHCP, or a script was fetched."""
        attempt = self._attempts.get(mac)
        if attempt is not None:
            attempt.given = False
            attempt.failures = 0

    # --- settings ---------------------------------------------------------------------------------------------

    def _settings_of(self, machine: Machine | None) -> _Settings:
        key, revision = (machine.id, machine.revision) if machine is not None else ("", 0)
        params = self._params_of()
        known = self._settings.get(key)
        if known is not None and known.revision == revision and known.params is params:
            return known
        if len(self._settings) >= self._most or (known is not None and known.params is not params):
            self._settings.clear()
            self._quirks.clear()
        made = self._settings[key] = _Settings(
            revision,
            params,
            _names(params.value(machine, LOADER_PARAM)),
            self._read_quirks(params.value(machine, QUIRKS_PARAM)),
            machine is not None and _secure(machine),
        )
        return made

    def _read_quirks(self, rows: Any) -> tuple[Quirk, ...]:
        """Machines share the value of their profiles; it is kept here, so that its id stays its own."""
        known = self._quirks.get(id(rows))
        if known is not None:
            return known[1]
        try:
            quirks = read_quirks(rows or [])
        except Invalid as error:
            # The schema keeps these out; a content pack may have loosened it.
            log.warning("boot.quirks-unusable", error=error.message)
            quirks = ()
        self._quirks[id(rows)] = (rows, quirks)
        return quirks

    # --- whose turn it is -------------------------------------------------------------------------------------

    def _whose_turn(self, client: BootClient, machine: Machine | None, settings: _Settings, manner: Behaviour) -> str:
        names = settings.loaders or (
            (NO_LOADER,)
            if manner.loader == NO_LOADER
            else order(
                client.platform,
                secure=settings.secure,
                http=client.kind is ClientKind.HTTP,
                first=manner.loader,
            )
        )
        if names == (NO_LOADER,):
            return NO_LOADER
        names = self._usable(names, client)
        if not names:
            return ""
        attempt = self._attempts.get(client.mac)
        if attempt is None:
            attempt = self._remember(client.mac)
        else:
            self._attempts.move_to_end(client.mac)
        if attempt.names != names:
            attempt.begin(names)
        if not client.begins:
            attempt.given = True
        elif client.xid != attempt.xid:
            self._began_anew(attempt, names, client, machine)
        attempt.xid = client.xid
        return attempt.turn

    def _usable(self, names: tuple[str, ...], client: BootClient) -> tuple[str, ...]:
        """Those with a file for this platform that is there; when none is there, the first, so that it is missed."""
        fitting = tuple(name for name in names if file_of(name, client.platform))
        return tuple(name for name in fitting if self._has(file_of(name, client.platform))) or fitting[:1]

    def _has(self, file: str) -> bool:
        now = self._ledger.clock()
        if self._looked_at is None or not timedelta() <= now - self._looked_at < _LOOK_AGAIN:
            self._looked.clear()
            self._looked_at = now
        found = self._looked.get(file)
        if found is None:
            found = self._looked[file] = self._is_there(file)
        return found

    def _remember(self, mac: str) -> _Attempt:
        if len(self._attempts) >= self._most:
            self._attempts.popitem(last=False)
        attempt = self._attempts[mac] = _Attempt()
        return attempt

    def _began_anew(
        self, attempt: _Attempt, names: tuple[str, ...], client: BootClient, machine: Machine | None
    ) -> None:
        if not attempt.given:
            return
        attempt.given = False
        attempt.failures += 1
        if attempt.failures < FAILURES_BEFORE_NEXT or len(names) < 2:
            return
        failed, attempt.failures = attempt.turn, 0
        attempt.turn = names[(names.index(failed) + 1) % len(names)]
        self._tell(client, machine, failed, attempt.turn)

    def _tell(self, client: BootClient, machine: Machine | None, failed: str, turn: str) -> None:
        tx = self._ledger.transaction(by="dhcp")
        tx.event(
            "boot.loader",
            machine=machine.id if machine is not None else "",
            mac=client.mac,
            key=turn,
            failed=failed,
            firmware=client.firmware,
            times=FAILURES_BEFORE_NEXT,
        )
        tx.commit().add_done_callback(_settled)


def _settled(saved: Future[None]) -> None:
    if not saved.cancelled() and (error := saved.exception()) is not None:
        log.error("boot.loader-not-told", error=str(error))


def _names(value: Any) -> tuple[str, ...]:
    """The loaders that a value of `boot/loader` names."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(name) for name in value) if isinstance(value, list) else ()


def _secure(machine: Machine) -> bool:
    """Whether the machine's last inventory found Secure Boot on."""
    boot = machine.inventory.get("boot")
    return isinstance(boot, dict) and boot.get("secure_boot") is True
