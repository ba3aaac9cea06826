"""The conductor's parts over a real database, with small content of their own, a clock to set and BMCs in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from msgspec.structs import replace

from agent.render import Renderer
from provisioner.access import Principal, Who
from provisioner.bus import Bus
from provisioner.conductor.actions import Actions
from provisioner.conductor.archive import Archive
from provisioner.conductor.assets import JobAssets
from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import BootContext
from provisioner.conductor.bulk import Bulk
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.conductor.networks import Networks
from provisioner.conductor.notes import Notes
from provisioner.conductor.operations import Operations
from provisioner.conductor.orders import Where, WorkOrder
from provisioner.conductor.registration import Hello, Registered, Registration, Registrations
from provisioner.conductor.replies import Replies
from provisioner.conductor.retention import Retention
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.conductor.values import sealed_packs
from provisioner.content.stack import Item, Pack
from provisioner.content.whole import Layers
from provisioner.identity import normal_mac
from provisioner.lifecycle import Outcome
from provisioner.model.access import TokenPurpose, User
from provisioner.model.content import (
    BootArch,
    Bootenv,
    Content,
    Param,
    Profile,
    Retry,
    Stage,
    Task,
    TaskFile,
    Template,
    Workflow,
)
from provisioner.model.machines import ExitState, Identity, Job, JobState, Machine
from provisioner.power.registry import PowerDrivers
from provisioner.services.api import Api
from provisioner.services.api_archive import ArchiveRoutes
from provisioner.services.http import App
from provisioner.services.surface import Surface
from provisioner.services.work import Work
from provisioner.store.assets import Assets
from provisioner.store.database import Database
from provisioner.store.event_search import EventQuery
from provisioner.store.logs import JobLogs
from provisioner.tickets import Tickets
from provisioner.vault import Vault
from tests.fakes.power import FakePower

OPERATOR = Principal(Who.USER, "admin", "admin")
PASSWORD = "correct horse battery"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
WHERE = Where("http://10.0.0.1:8091", "10.0.0.1")
MAC, OTHER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"
IDENTITY = Identity(dmi_uuid="4c4c4544-0042-3510-8054-b4c04f564433", serial="SN0001")
BMC = {"power/driver": "fake", "power/address": "10.0.0.9", "power/username": "op", "power/password": "correct horse"}


def task(name: str, **fields: Any) -> Task:
    """A task with one script that says its name."""
    return Task(name=name, files=(TaskFile("run", contents=f"echo {name}\n"),), **fields)


_OBJECTS: tuple[Content, ...] = (
    Param(name="colour", schema={"enum": ["red", "blue"]}),
    Param(name="count", schema={"type": "integer"}, default=3),
    Param(name="agent/kexec", schema={"type": "boolean"}, default=False),
    Param(name="needed", schema={"type": "string"}),
    Param(name="secret", schema={"type": "string"}, secure=True),
    Param(name="change-stage/map", schema={"type": "object"}, compose=True),
    *(Param(name=name, schema={"type": "string"}, secure=name.endswith("password")) for name in BMC),
    Profile(name="rack", params={"colour": "blue"}),
    Template(name="shared/hello", contents="hello {{ machine.name }}\n"),
    Template(
        name="boot/ipxe",
        contents="#!ipxe\nkernel {{ kernel_url }} {{ boot_params }}\n"
        "{% for url in initrd_urls %}initrd {{ url }}\n{% endfor %}boot\n",
    ),
    Template(
        name="boot/held", contents="#!ipxe\necho {{ mac }} looks like {{ machines | join }}: {{ reason }}\nsleep 60\n"
    ),
    Template(
        name="boot/grub",
        contents="grub {{ mac }} {{ kernel_url.removeprefix(server.url) }} {{ boot_params }}\n",
    ),
    Template(name="boot/grub-local", contents="grub {{ machine.name }} local\n"),
    Template(name="boot/grub-held", contents="grub {{ mac }} looks like {{ machines | join }}\n"),
    Template(name="boot/grub-start", contents="start {{ mac_dashed }}\n"),
    Template(
        name="boot/wait",
        contents="#!ipxe\necho {{ place }} of {{ waiting }}, {{ limit }} at once\nsleep {{ pause_seconds }}\n",
    ),
    Template(name="boot/local", contents="#!ipxe\necho {{ machine.name if machine else mac }}\nexit 1\n"),
    task("one"),
    task("two"),
    task("redo", idempotent=True, heartbeat_seconds=30),
    task("stubborn", retry=Retry(max=1, backoff_seconds=10)),
    task("needy", required_params=("needed", "colour")),
    Task(name="greet", files=(TaskFile("run", template="shared/hello"),), optional_params=("secret",)),
    Bootenv(name="local"),
    Bootenv(
        name="discovery",
        arch={
            "amd64": BootArch(
                "discovery/vmlinuz",
                ("discovery/initrd.img",),
                "provisioner.url={{ server.url }} provisioner.ticket={{ ticket }}",
            )
        },
    ),
    Bootenv(name="picky", arch={"amd64": BootArch("k", (), '{{ param("needed") }}')}),
    Stage(name="discover", bootenv="discovery", tasks=("one",)),
    Stage(name="prepare", bootenv="discovery", tasks=("one", "action:power-status", "redo")),
    Stage(name="finish", bootenv="local", tasks=("two",)),
    Stage(name="need", tasks=("needy",)),
    Stage(name="stubborn", tasks=("stubborn",)),
    Stage(name="redo", tasks=("redo", "two")),
    Stage(name="greet", tasks=("greet",)),
    Workflow(name="discover", stages=("discover",)),
    Workflow(name="deploy", stages=("prepare", "finish")),
    Workflow(name="need", stages=("need",)),
    Workflow(name="greet", stages=("greet",)),
)
PACK = Pack("base", "base/pack.yaml", items=tuple(Item(replace(each, pack="base"), "base/x.yaml") for each in _OBJECTS))
VAULT = Vault([bytes(32)])
# Checked once for all tests, as a server checks its packs once for all edits.
_LAYERS = Layers(sealed_packs([PACK], VAULT), VAULT.opened)


class SetClock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = START
        self.passed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Go on by so much."""
        self.now += timedelta(seconds=seconds)
        self.passed += seconds

    def step(self, seconds: float) -> None:
        """Be set to another time, as by NTP; no time passes."""
        self.now += timedelta(seconds=seconds)

    def seconds(self) -> float:
        """How much time has passed, whatever the clock was set to."""
        return self.passed


class Parts:
    """All parts of the conductor, and short words for what tests have machines do."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock()
        self.database = Database(folder / "parts.db")
        self.ledger = Ledger(self.database, Bus(), self.clock)
        self.logs = JobLogs(folder / "logs")
        self.assets = Assets(folder / "assets", 1_000_000)
        self.vault = VAULT
        self.catalog = Catalog(self.ledger, _LAYERS.build, vault=self.vault, renderer=Renderer())
        self.tickets = Tickets(self.vault.derived("tickets"))
        self.tokens = Tokens(self.ledger, self.tickets)
        self.clashes = Clashes(self.ledger)
        self.machines = Machines(self.ledger, self.catalog, self.clashes)
        self.registrations = Registrations(
            self.ledger, self.catalog, self.tokens, self.clashes, "discover", lambda: 0.0
        )
        self.jobs = Jobs(self.ledger, self.catalog, self.logs, Renderer(), lambda: 0.0, self.clock.seconds)
        self.retention = Retention(self.ledger, self.logs, self.assets)
        self.job_assets = JobAssets(self.ledger, self.assets)
        self.archive = Archive(self.ledger, self.catalog, self.logs, self.assets)
        self.power = FakePower()
        self.actions = Actions(self.ledger, self.catalog, self.jobs, PowerDrivers({}, {"fake": self.power}))
        self.operations = Operations(self.ledger)
        self.bulk = Bulk(self.ledger, self.machines, self.jobs, self.actions, self.operations)
        self.networks = Networks(self.ledger)
        self.notes = Notes(self.ledger)
        self.renderer = Renderer()
        self.boot_context = BootContext(self.ledger, self.catalog, self.renderer, "discovery")
        self.turns = Turns(self.ledger, 0, seconds=self.clock.seconds)
        self.boot = Boot(
            self.ledger, self.catalog, self.tokens, self.clashes, self.boot_context, self.notes, self.turns
        )

    async def open(self) -> None:
        """Begin with an administrator and the content of PACK."""
        self.database.open()
        self.ledger.load()
        self.catalog.load()
        self.database.start()
        tx = self.ledger.transaction()
        # The real parameters make a password slow to try on purpose; a hash carries its own.
        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        tx.put(User(name="admin", password_hash=hashed, created_at=tx.now))
        await tx.commit()

    async def close(self) -> None:
        """End all threads."""
        await self.database.close()
        self.logs.close()
        self.assets.close()
        self.archive.close()
        self.tokens.close()

    def api(self) -> Api:
        """The operators' API."""
        fleet = self.bulk, self.operations, self.clashes, self.registrations
        parts = self.machines, self.jobs, self.actions, *fleet, self.networks, self.database, self.tokens
        return Api(self.ledger, self.catalog, *parts)

    def archive_routes(self) -> ArchiveRoutes:
        """What has been, for operators and agents."""
        parts = self.machines, self.jobs, self.assets, self.job_assets, self.retention, self.archive
        return ArchiveRoutes(self.ledger, *parts)

    def surface(self) -> Surface:
        """All of the API."""
        agent = {"version": "0.1.0", "sha256": "aa"}
        work = Work(self.ledger, self.registrations, self.jobs, self.actions, self.boot, agent)
        api = self.api()
        shared = [*work.operations(), *self.archive_routes().operations(), *api.operations()]
        return Surface(Replies(self.ledger, self.vault), "test", shared, api.login_operations())

    def agents_app(self) -> web.Application:
        """The application that faces the provisioning network."""
        return App(self.tokens, cookies=False).build([self.surface().for_machines()])

    def operators_app(self) -> web.Application:
        """The application that faces operators, without pages."""
        return App(self.tokens, cookies=True).build([self.surface().for_people()])

    # --- secrets ----------------------------------------------------------------------------------------------

    async def ticket(self, mac: str = MAC) -> str:
        """A registration ticket as a boot script carries it."""
        return self.tokens.issue_ticket(mac)

    async def secret(self, purpose: TokenPurpose = TokenPurpose.API, subject: str = "admin") -> str:
        """The secret of a new token."""
        tx = self.ledger.transaction()
        secret = self.tokens.issue(tx, purpose, subject)
        await tx.commit()
        return secret

    # --- machines ---------------------------------------------------------------------------------------------

    async def register(self, *macs: str, ticket: str = "", identity: Identity = IDENTITY, **said: Any) -> Registered:
        """A machine registers in the discovery environment, by the MAC named first."""
        macs = macs or (MAC,)
        asked = Registration(
            ticket=ticket or await self.ticket(normal_mac(macs[0])),
            macs=macs,
            identity=identity,
            bootenv="discovery",
            **said,
        )
        return await self.registrations.register(asked, "10.0.0.50")

    async def hello(self, machine: str, boot_id: str = "boot-1", bootenv: str = "discovery") -> Machine:
        """Its agent comes up."""
        return await self.registrations.hello(
            machine, Hello(boot_id=boot_id, bootenv=bootenv), Principal(Who.MACHINE, machine)
        )

    async def ready(self, *, bootenv: str = "discovery", force: bool = False, **change: Any) -> str:
        """A machine that is up and has done what was asked of it at first; returns its id."""
        machine = (await self.register()).machine.id
        await self.change(machine, workflow="")
        await self.change(machine, bootenv=bootenv)
        await self.hello(machine, bootenv=bootenv)
        if change:
            await self.change(machine, force=force, **change)
        return machine

    async def change(self, machine: str, *, force: bool = False, **fields: Any) -> Machine:
        """An operator changes it."""
        return await self.machines.change(machine, MachineChange(**fields), OPERATOR, force=force)

    def machine(self, machine: str) -> Machine:
        """As it is on disk."""
        return self.machines.find(machine)

    # --- jobs -------------------------------------------------------------------------------------------------

    async def claim(self, machine: str, boot_id: str = "boot-1") -> WorkOrder | None:
        """Its agent asks once for work."""
        return await self.jobs.claim(machine, boot_id, WHERE, Principal(Who.MACHINE, machine))

    async def begin(self, machine: str, boot_id: str = "boot-1", instance: str = "agent-1") -> Job:
        """Its agent asks until it gets a job, and starts that."""
        for _ in range(10):
            order = await self.claim(machine, boot_id)
            if order is not None:
                return await self.jobs.start(order.job.id, boot_id, instance, Principal(Who.MACHINE, machine))
        raise AssertionError("no job after ten claims")

    async def end(
        self,
        job: Job,
        state: JobState = JobState.FINISHED,
        exit_state: ExitState = ExitState.COMPLETE,
        message: str = "",
        instance: str = "agent-1",
    ) -> Job:
        """The agent says how the run ended."""
        outcome = Outcome(state, exit_state, 0 if state is JobState.FINISHED else 1, message)
        return (await self.jobs.end(job.id, instance, outcome, Principal(Who.MACHINE, job.machine)))[0]

    async def events(self, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
        """(key, data) of the events of these kinds, oldest first."""
        await self.notes.settled()
        found = await self.database.events(EventQuery(kinds=kinds, limit=1000))
        return [(event.key, event.data) for event in found]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Parts]:
    """The parts, in use."""
    parts = Parts(folder)
    await parts.open()
    try:
        yield parts
    finally:
        await parts.close()


@asynccontextmanager
async def serving(app: web.Application, secret: str = "") -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the application that sends this token with everything."""
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with TestClient(server, headers=headers) as client:
        yield client


async def operator(parts: Parts) -> AbstractAsyncContextManager[TestClient[Any, Any]]:
    """A client of the operators' application, logged in."""
    return serving(parts.operators_app(), await parts.secret())


async def problem(response: ClientResponse, status: int) -> Any:
    """The problem document that a refused request gets."""
    body = await response.json()
    assert (response.status, response.content_type) == (status, "application/problem+json"), body
    return body
