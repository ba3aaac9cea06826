"""What each client loads first: one answer for DHCPv4, the proxy and DHCPv6.

A machine's loader is what param `boot/loader` says: the name of one, or a list to try in order. Without it, a row of
`boot/quirks` may name the one to begin with, then shim comes first where the inventory says that Secure Boot is on, and
second where there is no inventory. Firmware that was given a loader twice and then asked anew, without iPXE or GRUB
ever coming, cannot use it, nor can firmware that has fetched it whole and asks anew at once: the next in order has its
turn (event `boot.loader`), and one that worked is kept. All that is in memory only: after a restart of the server the
first loader has its turn again.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from provisioner.boot_attempts import MOST_REMEMBERED, BootAttempts, Turn
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Invalid
from provisioner.firmware import BootClient, ClientKind, Platform
from provisioner.frozen import Frozen
from provisioner.loaders import LOADERS, NO_LOADER, file_of, order, signed_second
from provisioner.model.content import Bootenv
from provisioner.model.machines import Machine
from provisioner.netboot import NEVER, NO_BOOT, Boot, choose_boot
from provisioner.params import Params
from provisioner.quirks import Behaviour, Quirk, behaviour, read_quirks
from provisioner.wire.dhcp_options import CLIENT_UUID

log = structlog.get_logger(__name__)

LOADER_PARAM: Final = "boot/loader"
QUIRKS_PARAM: Final = "boot/quirks"

NOT_SECURE_BY_HTTP = "Secure Boot is on, and what is signed for it cannot go on from HTTP boot: let it boot by PXE"
NOT_SECURE_BY_PROXY = "Secure Boot is on, and what is signed for it hears only the server that gives the addresses"
# What a reservation's boot file can be that is no file.
_NAMES: Final = frozenset({*LOADERS, NO_LOADER})
# Kinds of clients told apart, and what each is told: a site has a few dozen, a fuzzer any number.
MOST_WAYS: Final = 1024
# Files come and go seldom, and looking for one costs more than all the rest.
_LOOK_AGAIN: Final = timedelta(seconds=5)


# An enum's member costs a call each time it is named.
_OTHER: Final = ClientKind.OTHER
_IPXE: Final = ClientKind.IPXE
_HTTP: Final = ClientKind.HTTP


class Web(Frozen, frozen=True):
    """Where our HTTP service listens; port 0 is nowhere, and `host` '' or a wildcard is every address of ours.

    `host6` and `port6` are the same for IPv6, where that has a listener of its own.
    """

    host: str = ""
    port: int = 0
    host6: str = ""
    port6: int = 0

    def url(self, server: str) -> str:
        """Our URL for a client that reaches us at address `server`, '' without HTTP."""
        host, port = self.host, self.port
        if ":" in server and self.port6:
            host, port = self.host6, self.port6
        elif ":" in server and host == "0.0.0.0":
            return ""
        if not port:
            return ""
        host = server if host in ("", "0.0.0.0", "::") else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Way:
    """How clients that are alike are answered: what was worked out for one of them is good for all.

    `names` are the loaders that are there as of the look number `looked`; `boots` what is told, by all else that it
    depends on, with the boot environment, so that its id stays its own.
    """

    __slots__ = ("behaviour", "boots", "looked", "names", "only_ipxe")

    def __init__(self, behaviour: Behaviour, only_ipxe: bool) -> None:
        self.behaviour = behaviour
        self.only_ipxe = only_ipxe
        self.names: tuple[str, ...] = ()
        self.looked = -1
        self.boots: dict[tuple[Any, ...], tuple[Bootenv | None, Boot]] = {}


class _Ways:
    """The ways under one set of rows. `oui` and `uuid` are how much of a MAC and of option 97 the rows look at."""

    def __init__(self, quirks: Sequence[Quirk]) -> None:
        self._quirks = quirks
        self._oui = max((len(oui) for quirk in quirks for oui in quirk.match.oui), default=0)
        # The option's first byte is its type, and each other two letters.
        longest = max((len(uuid) for quirk in quirks for uuid in quirk.match.uuid), default=0)
        self._uuid = (longest + 1) // 2 + 1 if longest else 0
        self._ways: dict[tuple[Any, ...], _Way] = {}

    def of(self, client: BootClient, proxy: bool) -> _Way:
        """The way for clients like this one."""
        kind = client.kind
        alike = (
            kind is _IPXE,
            kind is _HTTP,
            client.arch,
            client.vendor_class,
            client.mac[: self._oui],
            client.uuid[: self._uuid],
            proxy,
        )
        way = self._ways.get(alike)
        if way is None:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            way = self._ways[alike] = _Way(behaviour(client, self._quirks), _only_ipxe(client, proxy))
        return way


class _Settings:
    """What the params of a machine say about booting; of which revision and content that is."""

    __slots__ = ("loaders", "params", "quirks", "revision", "secure", "ways")

    def __init__(
        self,
        revision: int,
        params: Params,
        loaders: tuple[str, ...],
        quirks: tuple[Quirk, ...],
        secure: bool | None,
        ways: _Ways,
    ) -> None:
        self.revision = revision
        self.params = params
        self.loaders = loaders
        self.quirks = quirks
        self.secure = secure
        self.ways = ways


class BootChoices:
    """Chooses. `params_of` gives the params of the content in force, `bootenv_of` what a machine boots (None: unknown).

    `is_there` tells whether a file of the static root exists; `most` machines are remembered. `met` hears of
    clients of machines that are unknown.
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
        met: Callable[[BootClient], None] = lambda client: None,
    ) -> None:
        self._ledger = ledger
        self._params_of = params_of
        self._bootenv_of = bootenv_of
        self._is_there = is_there
        self._web = web
        self._most = most
        self._met = met
        self._settings: dict[str, _Settings] = {}
        self._quirks: dict[int, tuple[Any, tuple[Quirk, ...]]] = {}
        self._attempts = BootAttempts(most)
        self._looked: dict[str, bool] = {}
        # When it was last asked for; all messages of a drain come at the same moment.
        self._now: datetime | None = None
        self._looked_at: datetime | None = None
        self._look_at = datetime.min.replace(tzinfo=UTC)
        self._looks = 0
        self._ways: dict[tuple[tuple[str, ...], int, bool | None], _Ways] = {}

    def choose(
        self,
        client: BootClient,
        machine: Machine | None,
        server: str,
        override: str = "",
        *,
        proxy: bool = False,
        shared: bool = False,
        now: datetime | None = None,
    ) -> Boot:
        """What to tell the client that reaches us at address `server`; `override` is a reservation's boot file.

        Call it once for each message that is answered: it counts how often firmware begins anew. With `shared`, the
        answer may be one that others get too, without this client's UUID (see Boot). `now` is the ledger's time for
        those who have asked it already.
        """
        if client.kind is _OTHER:
            return NO_BOOT
        if machine is None:
            self._met(client)
        settings = self._settings_of(machine)
        way = settings.ways.of(client, proxy)
        loader = ""
        if override in _NAMES:
            loader, override = override, ""
        if client.kind is _IPXE:
            self.loaded(client.mac, machine)
            # It is loaded already; of what is said about loaders only that there shall be none concerns it.
            loader = loader or (settings.loaders[0] if settings.loaders else way.behaviour.loader)
            loader = loader if loader == NO_LOADER else ""
        elif override != NEVER and not loader:
            loader = self._whose_turn(client, machine, settings, way, now or self._ledger.clock())
            if not loader and settings.secure and way.only_ipxe and not override:
                return Boot(reason=NOT_SECURE_BY_PROXY if proxy else NOT_SECURE_BY_HTTP)
        boot = self._boot(client, self._bootenv_of(machine), way, (loader, override, server, proxy))
        return boot if shared or not boot.shared else _personal(boot, client)

    def _boot(self, client: BootClient, bootenv: Bootenv | None, way: _Way, told: tuple[str, str, str, bool]) -> Boot:
        """What the client is told; for firmware that is the same for all who are alike, but for its UUID."""
        loader, override, server, proxy = told
        key = (loader, override, server, proxy, bool(client.uuid), id(bootenv))
        known = way.boots.get(key)
        if known is not None:
            return known[1]
        http = self._web.url(server)
        boot = choose_boot(client, bootenv, loader, override=override, http=http, behaviour=way.behaviour, proxy=proxy)
        # The script that iPXE is told is its machine's own.
        if client.kind is not _IPXE:
            if len(way.boots) >= MOST_WAYS:
                way.boots.clear()
            boot = boot.with_options(boot.options, shared=True)
            way.boots[key] = (bootenv, boot)
        return boot

    def loaded(self, mac: str, machine: Machine | None) -> None:
        """What this machine, None for a stranger, was given works: iPXE asks by DHCP, or a script was fetched."""
        # An iPXE with drivers of its own may ask by another card than the one that it was loaded by.
        for each in machine.macs if machine is not None else (mac,):
            self._attempts.loaded(each)

    def fetched(self, mac: str, path: str) -> None:
        """This machine has fetched a file whole, by TFTP or HTTP."""
        self._attempts.fetched(mac, path.lstrip("/").removeprefix("files/"), self._ledger.clock())

    # --- settings ---------------------------------------------------------------------------------------------

    def _settings_of(self, machine: Machine | None) -> _Settings:
        key, revision = (machine.id, machine.revision) if machine is not None else ("", 0)
        params = self._params_of()
        known = self._settings.get(key)
        if known is not None and known.revision == revision and known.params is params:
            return known
        full = len(self._settings) >= self._most or len(self._quirks) >= MOST_WAYS
        if full or (known is not None and known.params is not params):
            self._settings.clear()
            self._quirks.clear()
            self._ways.clear()
        loaders = _names(params.value(machine, LOADER_PARAM))
        quirks = self._read_quirks(params.value(machine, QUIRKS_PARAM))
        secure = _secure(machine) if machine is not None else None
        ways = self._ways.setdefault((loaders, id(quirks), secure), _Ways(quirks))
        made = self._settings[key] = _Settings(revision, params, loaders, quirks, secure, ways)
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

    def _whose_turn(
        self, client: BootClient, machine: Machine | None, settings: _Settings, way: _Way, now: datetime
    ) -> str:
        if now is not self._now:
            self._now = now
            self._look_again(now)
        if way.looked != self._looks:
            way.names = self._names_for(client, settings, way)
            way.looked = self._looks
        names = way.names
        if names == (NO_LOADER,):
            return NO_LOADER
        if not names:
            return ""
        turn = self._attempts.turn(client, names, now)
        if turn.failed:
            self._tell(client, machine, turn)
        return turn.loader

    def _names_for(self, client: BootClient, settings: _Settings, way: _Way) -> tuple[str, ...]:
        first = way.behaviour.loader
        names = settings.loaders or (
            (NO_LOADER,)
            if first == NO_LOADER
            else order(client.platform, secure=settings.secure is True, only_ipxe=way.only_ipxe, first=first)
        )
        if names == (NO_LOADER,):
            return names
        usable = self._usable(names, client)
        return usable if settings.loaders or settings.secure is not None else signed_second(usable)

    def _usable(self, names: tuple[str, ...], client: BootClient) -> tuple[str, ...]:
        """Those with a file for this platform that is there; when none is there, the first, so that it is missed."""
        fitting = tuple(name for name in names if file_of(name, client.platform))
        return tuple(name for name in fitting if self._has(file_of(name, client.platform))) or fitting[:1]

    def _look_again(self, now: datetime) -> None:
        if self._looked_at is None or not self._looked_at <= now < self._look_at:
            self._looked.clear()
            self._looked_at, self._look_at = now, now + _LOOK_AGAIN
            self._looks += 1

    def _has(self, file: str) -> bool:
        found = self._looked.get(file)
        if found is None:
            found = self._looked[file] = self._is_there(file)
        return found

    def _tell(self, client: BootClient, machine: Machine | None, turn: Turn) -> None:
        tx = self._ledger.transaction(by="dhcp")
        tx.event(
            "boot.loader",
            machine=machine.id if machine is not None else "",
            mac=client.mac,
            key=turn.loader,
            failed=turn.failed,
            firmware=client.firmware,
            times=turn.times,
        )
        tx.commit(lazy=True).add_done_callback(_settled)


def _personal(boot: Boot, client: BootClient) -> Boot:
    options = boot.options
    if CLIENT_UUID in options:
        options = {**options, CLIENT_UUID: client.uuid}
    return boot.with_options(options, shared=False)


def _settled(saved: Future[None]) -> None:
    if not saved.cancelled() and (error := saved.exception()) is not None:
        log.error("boot.loader-not-told", error=str(error))


def _only_ipxe(client: BootClient, proxy: bool) -> bool:
    """Whether GRUB would be lost there."""
    return client.kind is _HTTP or (proxy and client.platform is not Platform.BIOS)


def _names(value: Any) -> tuple[str, ...]:
    """The loaders that a value of `boot/loader` names."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(name) for name in value) if isinstance(value, list) else ()


def _secure(machine: Machine) -> bool | None:
    """Whether the machine's last inventory found Secure Boot on; None when it says nothing of it."""
    boot = machine.inventory.get("boot")
    secure = boot.get("secure_boot") if isinstance(boot, dict) else None
    return secure if isinstance(secure, bool) else None
