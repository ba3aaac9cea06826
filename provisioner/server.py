"""Builds everything once: sockets first, then the parts from the bottom up, then all services in one task group."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

import structlog
from aiohttp import web

from agent.build import zipapp
from provisioner.access import SERVER
from provisioner.assembly import Applications, Parts, put_together
from provisioner.compiled import MODULES
from provisioner.config import Config
from provisioner.errors import Conflict, Invalid, SettingError, StoreError, unknown
from provisioner.fair_loop import prefer
from provisioner.model.addresses import Subnet
from provisioner.packs import load, load_shipped
from provisioner.power.registry import PowerDrivers, installed_drivers
from provisioner.raw_sockets import RawSockets, connected_networks, icmp6, raw
from provisioner.recording import NO_RECORDER
from provisioner.services import dhcp, dhcp6, tftp
from provisioner.services.clock import Clock
from provisioner.services.files import Tree
from provisioner.services.frames import Frames
from provisioner.services.http import RequestLog
from provisioner.services.plain_site import PlainSite
from provisioner.services.probes import Prober
from provisioner.services.proxy_dhcp import ProxyDhcpService
from provisioner.services.router_advertisements import RouterAdvertisements
from provisioner.services.server_search import ServerSearch, served_interfaces
from provisioner.sockets import beside, bind, inherited, local_addresses, notify, tcp, tcp6, udp6
from provisioner.store.database import Database
from provisioner.wire.dhcp import SERVER_PORT
from provisioner.wire.dhcp6 import SERVER_PORT as SERVER_PORT6
from provisioner.wire.tftp import Limits

log = structlog.get_logger(__name__)

_OPENERS: dict[str, Callable[[str, int], socket.socket]] = {
    "dhcp": dhcp.open_socket,
    "proxy": dhcp.open_socket,
    "tftp": tftp.open_socket,
    "http": tcp,
    "ui": tcp,
}
# The services that have a socket of their own for IPv6, and their twins for IPv4.
_OPENERS6: dict[str, tuple[str, Callable[[str, int], socket.socket]]] = {
    "dhcp6": ("dhcp", dhcp6.open_socket),
    "tftp6": ("tftp", udp6),
    "http6": ("http", tcp6),
}
# A client that waits for these has nothing else to do, and soon asks again.
_URGENT = ("dhcp", "dhcp6", "proxy")
# Streams, long polls and transfers get this long to end; aiohttp waits about twice as long before it cuts them off.
_SHUTDOWN_SECONDS = 1.0
# Whoever says nothing for so long, or half of a request's head, is gone; aiohttp would wait an hour, and each costs a
# descriptor.
_IDLE_SECONDS = 75.0


class Server:
    """A server whose sockets are bound; `run` serves until it is told to stop."""

    def __init__(
        self,
        config: Config,
        sockets: dict[str, socket.socket],
        parts: Parts,
        version: str,
        raw_sockets: RawSockets | None = None,
        advertising: socket.socket | None = None,
    ) -> None:
        self.config = config
        self.sockets = sockets
        self._raw = raw_sockets
        self._advertising = advertising
        self.parts = parts
        self._version = version
        self._stop = asyncio.Event()
        self._ready = False
        self._agent = zipapp()

    def port(self, name: str) -> int:
        """The port that a service listens on, 0 when it is off."""
        return int(self.sockets[name].getsockname()[1]) if name in self.sockets else 0

    def stop(self) -> None:
        """End `run` cleanly."""
        self._stop.set()

    async def run(self, announce: Callable[[str], None], environment: Mapping[str, str]) -> None:
        """Serve until stopped; one service that fails ends all. `announce` gets the lines meant for the operator."""
        parts = self.parts
        parts.database.start()
        parts.database.make_room()
        for name in _URGENT:
            if name in self.sockets:
                prefer(self.sockets[name])
        try:
            await self._prepare(announce)
            runners = [await self._start_web(name, app) for name, app in self._apps() if name in self.sockets]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(service) for service in self._services()]
                self._ready = True
                notify(environment, "READY=1")
                # Sources do the same as what was compiled of them, only slower: whoever measures wants to know.
                log.info("server.compiled", modules=MODULES.count(), why_not=MODULES.reason)
                log.info("server.ready", **{name: _place(sock) for name, sock in self.sockets.items()})
                await self._stop.wait()
                notify(environment, "STOPPING=1")
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*(runner.cleanup() for runner in runners))
            await parts.notes.settled()
            tx = parts.ledger.transaction(by="server")
            tx.event("server.stop")
            try:
                await tx.commit()
            except StoreError as error:  # a full disk is no reason not to end
                log.error("server.stop_not_told", error=error.message)
        finally:
            await parts.drivers.close()
            await parts.database.close()
            parts.logs.close()
            parts.assets.close()
            if parts.recorder is not None:
                parts.recorder.close()
            parts.archive.close()
            parts.tokens.close()
            if self._raw is not None:
                self._raw.close()

    async def _prepare(self, announce: Callable[[str], None]) -> None:
        parts = self.parts
        sealed = await parts.catalog.seal_saved()
        if sealed:
            log.info("secrets.sealed", objects=sealed)
        # Before the password is told, which is shown only once.
        await self._make_subnets()
        password = await parts.tokens.ensure_admin(self.config.admin_password)
        if password:
            announce(f"First start: log in as admin with password {password}\n(shown only this once)")
        await parts.machines.refresh()
        await parts.operations.end_left_over()
        await parts.jobs.resume_actions()
        parts.addresses.follow()
        parts.addresses6.follow()
        parts.turns.follow()
        tx = parts.ledger.transaction(by="server")
        tx.event("server.start", version=self._version)
        await tx.commit()

    async def _make_subnets(self) -> None:
        """Make the subnets that the settings name and that are not there yet; raises SettingError."""
        known = {subnet.name for subnet in self.parts.ledger.all(Subnet)}
        for subnet in self.config["dhcp.subnets"]:
            if subnet.name in known:
                continue
            try:
                await self.parts.networks.put_subnet(subnet, SERVER)
            except (Invalid, Conflict) as error:
                raise SettingError(f"setting dhcp.subnets, {subnet.cidr}: {error.message}") from error

    def _services(self) -> list[Coroutine[Any, Any, None]]:
        parts = self.parts
        services: list[Coroutine[Any, Any, None]] = [
            parts.actions.run(),
            parts.operations.run(),
            parts.repositories.run(),
            Clock(parts.ledger, parts.jobs, parts.tokens, parts.retention).run(),
        ]
        if "dhcp" in self.sockets:
            interfaces = self.config["dhcp.interfaces"]
            frames = Frames(self._raw.frames) if self._raw is not None else None
            if frames is None:
                log.warning(
                    "dhcp.no-raw-sockets", effect="broadcast replies, no probes for conflicts", cure="CAP_NET_RAW"
                )
            service = dhcp.DhcpService(
                self.sockets["dhcp"],
                parts.addresses,
                interfaces=interfaces,
                frames=frames,
                recorder=parts.recorder or NO_RECORDER,
            )
            services.append(service.run())
            if self._raw is not None:
                identifier = int.from_bytes(os.urandom(2))
                prober = Prober(
                    parts.addresses.conflicts,
                    self._raw,
                    service.resume,
                    identifier,
                    interfaces=interfaces,
                    follow_clock=parts.addresses.follow_clock,
                )
                services.append(prober.run())
        if "proxy" in self.sockets:
            interfaces = self.config["dhcp.interfaces"]
            recorder = parts.recorder or NO_RECORDER
            proxy = ProxyDhcpService(
                self.sockets["proxy"], parts.addresses.proxy, interfaces=interfaces, recorder=recorder
            )
            services.append(proxy.run())
        services += self._services_on_ipv6()
        for name, http in (("tftp", "http"), ("tftp6", "http6")):
            if name in self.sockets:
                services.append(self._tftp(name, http).run())
        return services

    def _tftp(self, name: str, http: str) -> tftp.TftpService:
        config = self.config
        return tftp.TftpService(
            self.sockets[name],
            self._tree(http),
            self.parts.boot,
            limits=Limits(block_size=config["tftp.max_blksize"]),
            single_port=config["tftp.single_port"],
            ports=config["tftp.ports"],
        )

    def _services_on_ipv6(self) -> list[Coroutine[Any, Any, None]]:
        if "dhcp6" not in self.sockets:
            return []
        parts, interfaces = self.parts, self.config["dhcp.interfaces"]
        serving = dhcp6.Dhcp6Service(
            self.sockets["dhcp6"], parts.addresses6, interfaces=interfaces, recorder=parts.recorder or NO_RECORDER
        )
        if self._advertising is None:
            log.warning("dhcp6.no-raw-socket", effect="no router advertisements", cure="CAP_NET_RAW")
            return [serving.run()]
        advertising = RouterAdvertisements(
            self._advertising, lambda: parts.ledger.read_all(Subnet), interfaces=interfaces
        )
        parts.ledger.observe(Subnet, lambda old, new: advertising.look())
        return [serving.run(), advertising.run()]

    def _tree(self, http: str = "http") -> Tree:
        return Tree(
            self.parts.boot,
            self.parts.transfers,
            self.config.files_dir,
            self._agent,
            self.port(http) or self.port("http"),
        )

    def _apps(self) -> list[tuple[str, web.Application]]:
        health = [web.get("/healthz", self._healthy), web.get("/readyz", self._is_ready)]
        surfaces = Applications(self.parts, self._agent, self._version, self._facing_machines, self._networks_here)
        return [
            ("http", surfaces.facing_machines([health, self._tree().routes(), self.parts.repositories.routes()])),
            ("ui", surfaces.facing_people([health])),
        ]

    def _networks_here(self) -> list[tuple[str, IPv4Network]]:
        """The networks that we are on and may answer DHCP on, with the interface of each."""
        allowed = self.config["dhcp.interfaces"]
        return [each for each in connected_networks() if not allowed or each[0] in allowed]

    def _facing_machines(self) -> tuple[str, int]:
        """Host and port of the listener that machines use."""
        if "http" not in self.sockets:
            return "", 0
        host, port = self.sockets["http"].getsockname()[:2]
        return str(host), int(port)

    async def _start_web(self, name: str, app: web.Application) -> web.AppRunner:
        runner = web_runner(app)
        await runner.setup()
        for each in (name, f"{name}6"):
            if each in self.sockets:
                sock = self.sockets[each]
                site = self._machine_site(runner, sock) if name == "http" else web.SockSite(runner, sock)
                await site.start()
        return runner

    def _machine_site(self, runner: web.AppRunner, sock: socket.socket) -> PlainSite:
        return PlainSite(runner, sock, self.parts.boot.script_by_http, small=self._tree().small)

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _is_ready(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n" if self._ready else "starting\n", status=200 if self._ready else 503)


def web_runner(app: web.Application, idle_seconds: float = _IDLE_SECONDS) -> web.AppRunner:
    """What serves an application; handlers hear when their client hangs up. A head of a request has `idle_seconds`."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=RequestLog(),
        shutdown_timeout=_SHUTDOWN_SECONDS,
        keepalive_timeout=idle_seconds,
        handler_cancellation=True,
    )


def build(
    config: Config,
    environment: Mapping[str, str],
    *,
    version: str,
    drivers: PowerDrivers | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Server:
    """Bind every socket, drop privileges, open the store and put all parts together.

    Raises SettingError, StoreError or ContentError with what to mend; nothing has been served then.
    """
    with ExitStack() as undo:
        sockets = inherited(environment, os.getpid())
        for sock in sockets.values():
            undo.callback(sock.close)
        _refuse_strangers(sockets)
        handed_over = frozenset(sockets)
        for name, opener in _OPENERS.items():
            listener = config[f"listen.{name}"]
            # Who answers no DHCP is not asked for boot files on port 4011 either.
            if name == "proxy" and "dhcp" not in sockets:
                continue
            if name not in sockets and not listener.off:
                sockets[name] = bind(name, listener, opener)
                undo.callback(sockets[name].close)
        for name, sock in _bound_on_ipv6(config, sockets, handed_over).items():
            sockets[name] = sock
            undo.callback(sock.close)
        raw_sockets = raw() if "dhcp" in sockets else None
        if raw_sockets is not None:
            undo.callback(raw_sockets.close)
        advertising = icmp6() if "dhcp6" in sockets else None
        if advertising is not None:
            undo.callback(advertising.close)
        _become(config["run_as"])
        database = Database(config["data_dir"] / "provisioner.db")
        database.open()
        undo.callback(database.discard)
        packs = [*load_shipped(), *map(load, config["content"])]
        http_port, http6_port = (
            int(sockets[name].getsockname()[1]) if name in sockets else 0 for name in ("http", "http6")
        )
        search = None
        if raw_sockets is not None:
            search = ServerSearch(
                raw_sockets.frames,
                raw_sockets.offers,
                lambda: served_interfaces(connected_networks(), parts.ledger.all(Subnet), config["dhcp.interfaces"]),
                local_addresses,
            )
        parts = put_together(
            config,
            database,
            packs,
            drivers or PowerDrivers(installed_drivers()),
            clock,
            http_port=http_port,
            http6_port=http6_port,
            probe=search,
        )
        undo.pop_all()
    return Server(config, sockets, parts, version, raw_sockets, advertising)


def _bound_on_ipv6(
    config: Config, sockets: Mapping[str, socket.socket], handed_over: Collection[str]
) -> dict[str, socket.socket]:
    """The sockets for IPv6 that are still to be bound: where the settings say, or beside those that we have bound."""
    made = {}
    for name, (twin, opener) in _OPENERS6.items():
        listener = config[f"listen.{name}"]
        if name in sockets or listener.off:
            continue
        if not listener.auto:
            made[name] = bind(name, listener, opener)
        elif twin in sockets and twin not in handed_over:
            port = int(sockets[twin].getsockname()[1])
            # DHCPv6 has a port of its own; on any other no client finds us.
            if name == "dhcp6":
                port = SERVER_PORT6 if port == SERVER_PORT else 0
            sock = beside(name, config[f"listen.{twin}"], port, opener) if port else None
            if sock is not None:
                made[name] = sock
    return made


def _refuse_strangers(sockets: Mapping[str, socket.socket]) -> None:
    for name in sockets:
        known = (*_OPENERS, *_OPENERS6)
        if name not in known:
            raise SettingError(f"inherited a socket of unknown name: {unknown('socket', name, known)}", object=name)


def _become(user: str) -> None:
    if not user:
        return
    try:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except (KeyError, OSError) as error:
        raise SettingError(f"setting run_as {user!r}: cannot become that user: {error}", object="run_as") from error


def _place(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


async def serve(
    config: Config, environment: Mapping[str, str], announce: Callable[[str], None], *, version: str
) -> None:
    """Build and run a server until SIGTERM or SIGINT."""
    server = build(config, environment, version=version)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run(announce, environment)
