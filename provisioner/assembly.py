"""Puts the server together: its parts from the bottom up, and the two applications that people and machines meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from time import time
from typing import Any

import structlog
from aiohttp import web

from agent.render import Renderer
from agent.version import VERSION as AGENT_VERSION
from provisioner.arp_table import neighbours as kernels_table
from provisioner.boot_files import BootFiles
from provisioner.bus import Bus
from provisioner.conductor.actions import Actions
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.addresses6 import Addresses6
from provisioner.conductor.archive import Archive
from provisioner.conductor.assets import JobAssets
from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_choices import BootChoices, Web
from provisioner.conductor.boot_context import BootContext
from provisioner.conductor.bulk import Bulk
from provisioner.conductor.catalog import Build, Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.clock_steps import boot_seconds
from provisioner.conductor.doctor import Doctor, Probe
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.conductor.neighbours import Neighbours
from provisioner.conductor.networks import Networks
from provisioner.conductor.notes import Notes
from provisioner.conductor.operations import Operations
from provisioner.conductor.registration import Registrations
from provisioner.conductor.replies import Replies
from provisioner.conductor.retention import Retention
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.conductor.values import holds_sealed, sealed_packs, unopenable
from provisioner.config import Config
from provisioner.content.stack import Pack
from provisioner.content.whole import Layers
from provisioner.errors import SettingError, unknown
from provisioner.model.content import CONTENT_KINDS, Content
from provisioner.model.machines import Machine
from provisioner.params import ContentView
from provisioner.power.registry import PowerDrivers
from provisioner.retention import Limits
from provisioner.services.api import Api
from provisioner.services.api_archive import ArchiveRoutes
from provisioner.services.api_doctor import DoctorRoutes
from provisioner.services.api_downloads import DownloadRoutes
from provisioner.services.api_packets import PacketRoutes
from provisioner.services.http import App
from provisioner.services.join import JoinRoutes
from provisioner.services.repositories import Repositories
from provisioner.services.surface import Surface
from provisioner.services.transfers import Transfers
from provisioner.services.ui import Ui
from provisioner.services.ui_networks import Here, nowhere
from provisioner.services.work import Work
from provisioner.shipped import tree
from provisioner.store.assets import Assets
from provisioner.store.database import Database
from provisioner.store.file_cache import FileCache
from provisioner.store.logs import JobLogs
from provisioner.store.recorder import FlightRecorder
from provisioner.strangers import Strangers
from provisioner.tickets import Tickets
from provisioner.vault import Vault, open_vault

log = structlog.get_logger(__name__)

# Settings that name objects of content, and the kind of these.
_NAMING_SETTINGS = (("boot.unknown_bootenv", "bootenvs"), ("machines.default_workflow", "workflows"))


@dataclass
class Parts:
    """The server's parts, for those who put other services beside ours (tests)."""

    database: Database
    ledger: Ledger
    logs: JobLogs
    assets: Assets
    recorder: FlightRecorder | None
    archive: Archive
    catalog: Catalog
    tokens: Tokens
    clashes: Clashes
    machines: Machines
    registrations: Registrations
    jobs: Jobs
    retention: Retention
    replies: Replies
    drivers: PowerDrivers
    actions: Actions
    operations: Operations
    bulk: Bulk
    networks: Networks
    notes: Notes
    turns: Turns
    boot: Boot
    transfers: Transfers
    repositories: Repositories
    choices: BootChoices
    addresses: Addresses
    addresses6: Addresses6
    doctor: Doctor


def put_together(
    config: Config,
    database: Database,
    packs: Sequence[Pack],
    drivers: PowerDrivers,
    clock: Callable[[], datetime],
    http_port: int | None = None,
    http6_port: int = 0,
    probe: Probe | None = None,
) -> Parts:
    """All parts over an opened database, with the content in force; raises SettingError or ContentError.

    `http_port` is the port that machines reach us at by HTTP, 0 for none; without it, the one of the settings.
    `http6_port` is that of the listener for IPv6, 0 when there is none of its own. `probe` calls for DHCP servers.
    """
    ledger = Ledger(database, Bus(), clock)
    ledger.load()
    vault = _vault(config, ledger)
    renderer = Renderer()
    boot_files = BootFiles(config.files_dir)
    catalog = Catalog(
        ledger,
        *_content_builders(packs, vault),
        vault=vault,
        renderer=renderer,
        missing_files=boot_files.missing,
        settings={f"{kind}/{config[setting]}": setting for setting, kind in _NAMING_SETTINGS},
    )
    catalog.load()
    _check_names(config, catalog.view)
    tokens = Tokens(ledger, Tickets(vault.derived("registration tickets")))
    logs = JobLogs(config["data_dir"] / "logs")
    assets = Assets(config["data_dir"] / "assets", config["jobs.asset_limit_mb"] * 1_000_000)
    assets.sweep()
    limits = Limits(config["jobs.keep_days"] or None, config["jobs.keep_per_machine"] or None)
    jobs = Jobs(ledger, catalog, logs, renderer)
    clashes = Clashes(ledger)
    machines = Machines(ledger, catalog, clashes)
    actions = Actions(ledger, catalog, jobs, drivers)
    operations = Operations(ledger)
    notes = Notes(ledger)
    strangers = Strangers()
    boot_context = BootContext(ledger, catalog, renderer, config["boot.unknown_bootenv"], strangers.arch_of)
    choices = BootChoices(
        ledger,
        lambda: catalog.values.params,
        boot_context.bootenv_of,
        is_there=boot_files.has,
        met=strangers.met,
        web=Web(
            config["listen.http"].host,
            config["listen.http"].port if http_port is None else http_port,
            config["listen.http6"].host,
            http6_port,
        ),
    )
    neighbours = Neighbours(kernels_table, clock)
    turns = Turns(ledger, config["boot.heavy_downloads"], neighbours.mac_of)
    boot = Boot(
        ledger,
        catalog,
        tokens,
        clashes,
        boot_context,
        notes,
        turns,
        loaded=choices.loaded,
        fetched=choices.fetched,
        neighbour=neighbours.mac_of,
    )
    transfers = Transfers(boot, turns)
    copies = FileCache(config["data_dir"] / "repos", config["repos.cache_mb"] * 1_000_000, time)
    addresses = Addresses(ledger, choices, boot_seconds, heard=neighbours.heard)
    addresses6 = Addresses6(ledger, choices, _server_duid(vault), addresses.follow_clock)
    return Parts(
        database=database,
        ledger=ledger,
        logs=logs,
        assets=assets,
        recorder=_recorder(config),
        archive=Archive(ledger, catalog, logs, assets),
        catalog=catalog,
        tokens=tokens,
        clashes=clashes,
        machines=machines,
        registrations=Registrations(ledger, catalog, tokens, clashes, config["machines.default_workflow"]),
        jobs=jobs,
        retention=Retention(ledger, logs, assets, limits, config["events.keep_days"]),
        replies=Replies(ledger, vault),
        drivers=drivers,
        actions=actions,
        operations=operations,
        bulk=Bulk(ledger, machines, jobs, actions, operations),
        networks=Networks(ledger),
        notes=notes,
        turns=turns,
        boot=boot,
        transfers=transfers,
        repositories=Repositories(config["repos.upstreams"], copies, transfers),
        choices=choices,
        addresses=addresses,
        addresses6=addresses6,
        doctor=Doctor(ledger, lambda: [*addresses.unheard(), *addresses6.unheard()], probe),
    )


def _recorder(config: Config) -> FlightRecorder | None:
    size = config["recorder.size_mb"] * 1_000_000
    return FlightRecorder(config["data_dir"] / "recorder", size) if size else None


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


def _server_duid(vault: Vault) -> bytes:
    """By what DHCPv6 clients know us: a DUID-UUID (RFC 6355) that lasts as long as the key file does."""
    return b"\0\4" + vault.derived("DHCPv6 server identifier")[-1][:16]


def _content_builders(packs: Sequence[Pack], vault: Vault) -> tuple[Build, Build]:
    layers = Layers(sealed_packs(packs, vault), vault.opened)

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


class Applications:
    """The applications over the same parts; `agent` is the zipapp that machines run, `here` tells our networks."""

    def __init__(
        self,
        parts: Parts,
        agent: bytes,
        version: str,
        address_for_machines: Callable[[], tuple[str, int]],
        here: Here = nowhere,
    ) -> None:
        self._parts = parts
        self._here = here
        self._version = version
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
        served = {"version": AGENT_VERSION, "sha256": sha256(agent).hexdigest()}
        work = Work(parts.ledger, parts.registrations, parts.jobs, parts.actions, parts.boot, served)
        join = JoinRoutes(parts.tokens, parts.catalog, Renderer(), agent, address_for_machines)
        archive = ArchiveRoutes(
            parts.ledger,
            parts.machines,
            parts.jobs,
            parts.assets,
            JobAssets(parts.ledger, parts.assets),
            parts.retention,
            parts.archive,
        )
        packets = PacketRoutes(parts.recorder, parts.machines)
        shared = [
            *work.operations(),
            *join.operations(),
            *archive.operations(),
            *packets.operations(),
            *DoctorRoutes(parts.doctor, parts.machines).operations(),
            *DownloadRoutes(parts.turns, parts.repositories).operations(),
            *api.operations(),
        ]
        self._surface = Surface(parts.replies, version, shared, api.login_operations(), join.script_operations())

    def facing_machines(self, more: Iterable[Iterable[web.AbstractRouteDef]]) -> web.Application:
        """What machines and programs meet: no passwords, no cookies, no pages."""
        return App(self._parts.tokens, cookies=False).build([self._surface.for_machines(), *more])

    def facing_people(self, more: Iterable[Iterable[web.AbstractRouteDef]] = ()) -> web.Application:
        """What operators meet: the same API, login and the web UI."""
        parts = self._parts
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
            doctor=parts.doctor,
            recorder=parts.recorder,
            turns=parts.turns,
            repositories=parts.repositories,
            registrations=parts.registrations,
            networks=parts.networks,
            archive=parts.archive,
            assets=parts.assets,
            version=self._version,
            here=self._here,
            document=lambda: self._surface.document,
        )
        app = App(parts.tokens, cookies=True, error_page=ui.error_page)
        return app.build([self._surface.for_people(), ui.routes(), *more])
