"""Builds everything once: sockets first, then the parts from the bottom up, then all services in one task group."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import structlog
from aiohttp import web

from agent.build import archive, sources
from agent.render import Renderer
from agent.version import VERSION as AGENT_VERSION
from provisioner.access import SERVER
from provisioner.boot_files import BootFiles
from provisioner.bus import Bus
from provisioner.conductor.actions import Actions
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.archive import Archive
from provisioner.conductor.assets import JobAssets
from provisioner.conductor.boot import Boot
from provisioner.conductor.bulk import Bulk
from provisioner.conductor.catalog import Build, Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.conductor.networks import Networks
from provisioner.conductor.operations import Operations
from provisioner.conductor.registration import Registrations
from provisioner.conductor.retention import Retention
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.values import holds_sealed, sealed_packs, unopenable
from provisioner.config import Config
from provisioner.content.whole import Layers
from provisioner.errors import SettingError, StoreError, unknown
from provisioner.model import CONTENT_KINDS, Content, Machine, Subnet
from provisioner.packs import load, load_shipped
from provisioner.params import ContentView
from provisioner.power.registry import PowerDrivers, installed_drivers
from provisioner.retention import Limits
from provisioner.services import dhcp, tftp
from provisioner.services.api import Api
from provisioner.services.api_archive import ArchiveRoutes
from provisioner.services.clock import Clock
from provisioner.services.files import Tree
from provisioner.services.http import App
from provisioner.services.join import JoinRoutes
from provisioner.services.surface import Surface
from provisioner.services.ui import Ui
from provisioner.services.work import Work
from provisioner.shipped import tree
from provisioner.sockets import bind, inherited, notify, tcp
from provisioner.store.assets import Assets
from provisioner.store.database import Database
from provisioner.store.logs import JobLogs
from provisioner.vault import Vault, open_vault

log = structlog.get_logger(__name__)

_OPENERS: dict[str, Callable[[str, int], socket.socket]] = {
    "dhcp": dhcp.open_socket,
    "tftp": tftp.open_socket,
    "http": tcp,
    "ui": tcp,
}
# Settings that name objects of content, and the kind of these.
_NAMING_SETTINGS = (("boot.unknown_bootenv", "bootenvs"), ("machines.default_workflow", "workflows"))
# Streams, long polls and transfers get this long to end; aiohttp waits about twice as long before it cuts them off.
_SHUTDOWN_SECONDS = 1.0


@dataclass
class Parts:
    """The server's parts, for those who put other services beside ours (tests)."""

    database: Database
    ledger: Ledger
    logs: JobLogs
    assets: Assets
    archive: Archive
    catalog: Catalog
    tokens: Tokens
    clashes: Clashes
    machines: Machines
    registrations: Registrations
    jobs: Jobs
    retention: Retention
    drivers: PowerDrivers
    actions: Actions
    operations: Operations
    bulk: Bulk
    networks: Networks
    boot: Boot
    addresses: Addresses


class Server:
    """A server whose sockets are bound; `run` serves until it is told to stop."""

    def __init__(self, config: Config, sockets: dict[str, socket.socket], parts: Parts, version: str) -> None:
        self.config = config
        self.sockets = sockets
        self.parts = parts
        self._version = version
        self._stop = asyncio.Event()
        self._ready = False
        self._agent = archive(sources())

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
        try:
            await self._prepare(announce)
            runners = [await self._start_web(name, app) for name, app in self._apps() if name in self.sockets]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(service) for service in self._services()]
                self._ready = True
                notify(environment, "READY=1")
                log.info("server.ready", **{name: _place(sock) for name, sock in self.sockets.items()})
                await self._stop.wait()
                notify(environment, "STOPPING=1")
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*(runner.cleanup() for runner in runners))
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
            parts.archive.close()
            parts.tokens.close()

    async def _prepare(self, announce: Callable[[str], None]) -> None:
        parts = self.parts
        sealed = await parts.catalog.seal_saved()
        if sealed:
            log.info("secrets.sealed", objects=sealed)
        password = await parts.tokens.ensure_admin(self.config.admin_password)
        if password:
            announce(f"First start: log in as admin with password {password}\n(shown only this once)")
        known = {subnet.name for subnet in parts.ledger.all(Subnet)}
        for subnet in self.config["dhcp.subnets"]:
            if subnet.name not in known:
                await parts.networks.put_subnet(subnet, SERVER)
        await parts.machines.refresh()
        await parts.operations.end_left_over()
        await parts.jobs.resume_actions()
        parts.addresses.follow()
        tx = parts.ledger.transaction(by="server")
        tx.event("server.start", version=self._version)
        await tx.commit()

    def _services(self) -> list[Coroutine[Any, Any, None]]:
        parts = self.parts
        services: list[Coroutine[Any, Any, None]] = [
            parts.actions.run(),
            parts.operations.run(),
            Clock(parts.ledger, parts.jobs, parts.tokens, parts.retention).run(),
        ]
        if "dhcp" in self.sockets:
            interfaces = self.config["dhcp.interfaces"]
            services.append(dhcp.DhcpService(self.sockets["dhcp"], parts.addresses, interfaces=interfaces).run())
        if "tftp" in self.sockets:
            services.append(tftp.TftpService(self.sockets["tftp"], self._tree(), parts.boot).run())
        return services

    def _tree(self) -> Tree:
        return Tree(self.parts.boot, self.config.files_dir, self._agent, self.port("http"))

    def _apps(self) -> list[tuple[str, web.Application]]:
        parts = self.parts
        api = Api(
            parts.ledger,
            parts.catalog,
            parts.machines,
            parts.jobs,
            parts.actions,
            parts.bulk,
            parts.operations,
            parts.clashes,
            parts.registrations,
            parts.networks,
            parts.database,
            parts.tokens,
        )
        served = {"version": AGENT_VERSION, "sha256": sha256(self._agent).hexdigest()}
        work = Work(parts.ledger, parts.registrations, parts.jobs, parts.actions, parts.boot, served)
        join = JoinRoutes(parts.tokens, parts.catalog, Renderer(), self._agent, self._facing_machines)
        archive = ArchiveRoutes(
            parts.ledger,
            parts.machines,
            parts.jobs,
            parts.assets,
            JobAssets(parts.ledger, parts.assets),
            parts.retention,
            parts.archive,
        )
        shared = [*work.operations(), *join.operations(), *archive.operations(), *api.operations()]
        surface = Surface(parts.ledger, self._version, shared, api.login_operations(), join.script_operations())
        files = self._tree()
        ui = Ui(
            parts.ledger,
            parts.catalog,
            parts.machines,
            parts.jobs,
            parts.actions,
            parts.database,
            parts.tokens,
            tree("templates"),
            bulk=parts.bulk,
            operations=parts.operations,
            clashes=parts.clashes,
            registrations=parts.registrations,
            archive=parts.archive,
            assets=parts.assets,
            version=self._version,
            document=lambda: surface.document,
        )
        health = [web.get("/healthz", self._healthy), web.get("/readyz", self._is_ready)]
        facing_machines = App(parts.tokens, cookies=False).build([health, surface.for_machines(), files.routes()])
        facing_people = App(parts.tokens, cookies=True, error_page=ui.error_page).build(
            [health, surface.for_people(), ui.routes()]
        )
        return [("http", facing_machines), ("ui", facing_people)]

    def _facing_machines(self) -> tuple[str, int]:
        """Host and port of the listener that machines use."""
        if "http" not in self.sockets:
            return "", 0
        host, port = self.sockets["http"].getsockname()[:2]
        return str(host), int(port)

    async def _start_web(self, name: str, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=True)
        await runner.setup()
        await web.SockSite(runner, self.sockets[name]).start()
        return runner

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _is_ready(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n" if self._ready else "starting\n", status=200 if self._ready else 503)


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
        for name, opener in _OPENERS.items():
            listener = config[f"listen.{name}"]
            if name not in sockets and not listener.off:
                sockets[name] = bind(name, listener, opener)
                undo.callback(sockets[name].close)
        _become(config["run_as"])
        database = Database(config["data_dir"] / "provisioner.db")
        database.open()
        undo.callback(database.discard)
        parts = _parts(config, database, drivers or PowerDrivers(installed_drivers()), clock)
        undo.pop_all()
    return Server(config, sockets, parts, version)


def _refuse_strangers(sockets: Mapping[str, socket.socket]) -> None:
    for name in sockets:
        if name not in _OPENERS:
            raise SettingError(f"inherited a socket of unknown name: {unknown('socket', name, _OPENERS)}", object=name)


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


def _parts(config: Config, database: Database, drivers: PowerDrivers, clock: Callable[[], datetime]) -> Parts:
    ledger = Ledger(database, Bus(), clock)
    ledger.load()
    vault = _vault(config, ledger)
    renderer = Renderer()
    catalog = Catalog(
        ledger,
        *_content_builders(config, vault),
        vault=vault,
        renderer=renderer,
        missing_files=BootFiles(config.files_dir).missing,
        settings={f"{kind}/{config[setting]}": setting for setting, kind in _NAMING_SETTINGS},
    )
    catalog.load()
    _check_names(config, catalog.view)
    tokens = Tokens(ledger)
    logs = JobLogs(config["data_dir"] / "logs")
    assets = Assets(config["data_dir"] / "assets", config["jobs.asset_limit_mb"] * 1_000_000)
    assets.sweep()
    limits = Limits(config["jobs.keep_days"] or None, config["jobs.keep_per_machine"] or None)
    jobs = Jobs(ledger, catalog, logs, renderer)
    clashes = Clashes(ledger)
    machines = Machines(ledger, catalog, clashes)
    actions = Actions(ledger, catalog, jobs, drivers)
    operations = Operations(ledger)
    boot = Boot(ledger, catalog, tokens, clashes, renderer, config["boot.unknown_bootenv"])
    return Parts(
        database=database,
        ledger=ledger,
        logs=logs,
        assets=assets,
        archive=Archive(ledger, catalog, logs, assets),
        catalog=catalog,
        tokens=tokens,
        clashes=clashes,
        machines=machines,
        registrations=Registrations(ledger, catalog, tokens, clashes, config["machines.default_workflow"]),
        jobs=jobs,
        retention=Retention(ledger, logs, assets, limits, config["events.keep_days"]),
        drivers=drivers,
        actions=actions,
        operations=operations,
        bulk=Bulk(ledger, machines, jobs, actions, operations),
        networks=Networks(ledger),
        boot=boot,
        addresses=Addresses(ledger, boot.bootenv_of),
    )


def _vault(config: Config, ledger: Ledger) -> Vault:
    kept: list[Any] = [edit for cls in CONTENT_KINDS.values() for edit in ledger.all(cls)]
    kept += ledger.all(Machine)
    vault = open_vault(config.key_file, needed=holds_sealed(kept))
    lost = unopenable(kept, vault)
    if lost:
        raise SettingError(
            f"the key file {config.key_file} lacks the key of secure values in {', '.join(lost[:10])}"
            f"{f' and {len(lost) - 10} more' if len(lost) > 10 else ''}; put back the key file of this database",
            object="secrets.key_file",
        )
    return vault


def _content_builders(config: Config, vault: Vault) -> tuple[Build, Build]:
    packs = sealed_packs([*load_shipped(), *map(load, config["content"])], vault)
    layers = Layers(packs, vault.opened)

    def build_saved(edits: Iterable[Content]) -> ContentView:
        content, left_out = layers.build_without_bad_edits(edits)
        for problem in left_out:
            log.error("content.edit_left_out", problem=str(problem))
        return content

    return layers.build, build_saved


def _check_names(config: Config, view: ContentView) -> None:
    for setting, kind in _NAMING_SETTINGS:
        name = config[setting]
        if name and name not in view[kind]:
            raise SettingError(
                f"setting {setting}: {unknown(kind.removesuffix('s'), name, view[kind])}", object=setting
            )


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
